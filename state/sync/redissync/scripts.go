package redissync

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/state/sync/driver"
)

// All scripts have these keys: the order of the claims (a sorted set of IDs by token), their expiry times (a sorted set of IDs by milliseconds),
// their values (a hash), and the last token. Scripts for one claim also have the key of its tombstone, which a withdrawal creates. The first
// arguments are the channel and the name. Every script first removes the claims that have expired.
//
// The hash of values has the time of the last acquisition or renewal under the empty ID. If the clock is before that time, it was set
// back since then, and the script sets the expiry times back as well. So claims last longer by the time since then, but not by the step.
const begin = `
local queue, over, values, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local channel, name = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function leave(id)
	local token = redis.call('ZSCORE', queue, id)
	if not token then return 0 end
	redis.call('ZREM', queue, id)
	redis.call('ZREM', over, id)
	redis.call('HDEL', values, id)
	if redis.call('EXISTS', queue) == 0 then redis.call('DEL', values) end
	redis.call('PUBLISH', channel, string.format('%.0f', token) .. ' ' .. name)
	return 1
end
local seen = tonumber(redis.call('HGET', values, '') or now)
if now < seen then
	for _, id in ipairs(redis.call('ZRANGE', over, 0, -1)) do redis.call('ZINCRBY', over, now - seen, id) end
	redis.call('HSET', values, '', now)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', over, '-inf', now)) do leave(id) end
local function left(id) return math.floor((redis.call('ZSCORE', over, id) or now) - now) end
`

var (
	// acquireScript: ID, TTL, value, exclusive limit of earlier claims. It returns the token and the number of earlier claims. The token is 0 if
	// the limit is reached, and -1 if the claim was withdrawn. Lua's numbers are doubles, which are exact for microseconds for another two
	// centuries. The last token is kept for a day after the last claim; by then, the time is larger.
	acquireScript = newScript(`
local id, ttl, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[5]) == 1 then return {'-1', 0} end
local before = redis.call('ZCARD', queue)
if before >= most then return {'0', before} end
local token = math.max(time[1] * 1000000 + time[2], (tonumber(redis.call('GET', last)) or 0) + 1)
local text = string.format('%.0f', token)
redis.call('SET', last, text, 'PX', 86400000 + ttl)
redis.call('ZADD', queue, text, id)
redis.call('ZADD', over, now + ttl, id)
redis.call('HSET', values, id, ARGV[5], '', now)
for _, key in ipairs({queue, over, values}) do redis.call('PEXPIRE', key, 86400000 + ttl) end
if before == 0 then redis.call('PUBLISH', channel, '0 ' .. name) end
return {text, before}`)

	// renewScript: TTL, then an ID and a token for each claim. It returns the indexes of the claims that are missing, from zero.
	renewScript = newScript(`
local ttl, gone = tonumber(ARGV[3]), {}
for i = 4, #ARGV, 2 do
	local token = redis.call('ZSCORE', queue, ARGV[i])
	if token and tonumber(token) == tonumber(ARGV[i + 1]) then
		redis.call('ZADD', over, now + ttl, ARGV[i])
	else
		gone[#gone + 1] = (i - 4) / 2
	end
end
if redis.call('EXISTS', queue) == 1 then redis.call('HSET', values, '', now) end
for _, key in ipairs({queue, over, values, last}) do redis.call('PEXPIRE', key, 86400000 + ttl) end
return gone`)

	// releaseScript: ID, token. It returns 1 if the claim was in the queue. With the token zero, it withdraws the claim: no acquisition that
	// arrives within an hour can create it. No connection delays a request for that long. anyToken matches every claim.
	releaseScript = newScript(`
local id, token = ARGV[3], tonumber(ARGV[4])
if token == 0 then redis.call('SET', KEYS[5], '', 'PX', 3600000) end
if token > 0 and tonumber(redis.call('ZSCORE', queue, id) or 0) ~= token then return 0 end
return leave(id)`)

	// lookScript: ID, token. It returns the number of earlier claims, the token of the previous claim and its remaining time, and the
	// shortest remaining time of any claim. It returns -1 if the claim does not exist.
	lookScript = newScript(`
local at = redis.call('ZRANK', queue, ARGV[3])
if not at or tonumber(redis.call('ZSCORE', queue, ARGV[3])) ~= tonumber(ARGV[4]) then return {-1, '0', 0, 0} end
if at == 0 then return {0, '0', 0, 0} end
local before = redis.call('ZRANGE', queue, at - 1, at - 1, 'WITHSCORES')
local first = redis.call('ZRANGE', over, 0, 0)
return {at, string.format('%.0f', before[2]), left(before[1]), left(first[1])}`)

	// holderScript returns the token and the value of the first claim, and the time that it has left.
	holderScript = newScript(`
local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if not first[1] then return {'0', '', 0} end
return {string.format('%.0f', first[2]), redis.call('HGET', values, first[1]), left(first[1])}`)
)

// anyToken makes releaseScript remove a claim with any token.
const anyToken = "-1"

// script is a Lua script and its SHA-1. A server that has run the script runs it again by its SHA-1 alone.
type script struct{ text, sha string }

func newScript(text string) script {
	text = begin + text
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// script returns the request that runs a script for a name.
func (d *Driver) script(script script, name string, args ...string) request {
	return d.eval(script, d.keys(name), name, args)
}

// claimScript returns the request that runs a script for a claim, whose ID is the first argument.
func (d *Driver) claimScript(script script, name, id string, args ...string) request {
	keys := append(d.keys(name), d.tag(name)+":withdrawn:"+id)
	return d.eval(script, keys, name, append([]string{id}, args...))
}

func (d *Driver) eval(script script, keys []string, name string, args []string) request {
	args = append([]string{d.channel(), name}, args...)
	n := int64(len(keys))
	return request{
		command: d.client.B().Evalsha().Sha1(script.sha).Numkeys(n).Key(keys...).Arg(args...).Build(),
		whole: func() rueidis.Completed {
			return d.client.B().Eval().Script(script.text).Numkeys(n).Key(keys...).Arg(args...).Build()
		},
	}
}

// tag returns the beginning of a name's keys. The braces put them into one slot of a cluster. Braces in the name are escaped, so that
// there are no others.
func (d *Driver) tag(name string) string {
	return d.prefix + "{" + strings.NewReplacer("%", "%25", "{", "%7b", "}", "%7d").Replace(name) + "}"
}

func (d *Driver) keys(name string) []string {
	tag := d.tag(name)
	return []string{tag + ":queue", tag + ":over", tag + ":values", tag + ":token"}
}

func number(t driver.Token) string { return strconv.FormatUint(uint64(t), 10) }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (d *Driver) channel() string { return d.prefix + "left" }
