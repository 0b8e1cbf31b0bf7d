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

// All scripts have these keys: the claims' order (a sorted set of IDs by token), when they are over (a sorted set of IDs by milliseconds),
// their values (a hash) and the last token. Those about one claim also have its tombstone, which a withdrawal leaves. The first arguments are
// the channel and the name. What is over goes first.
//
// The values have the time of the last acquisition or renewal under the empty ID. If the clock is before that, it was set back since, and the
// times at which claims are over are set back as well. Claims then live longer by what had passed since, and not by the step.
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
	// acquireScript: ID, TTL, value, the most claims that may be there before. It returns the token and the number of claims before it,
	// with the token zero if there are more, or -1 if the claim was withdrawn. Microseconds are exact as Lua's numbers, which are doubles,
	// for another two centuries. The last token is kept for a day after the last claim: by then, time alone is larger.
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

	// renewScript: TTL, then an ID and a token for each claim. It answers with the places of those that are not there, the first of which
	// is zero.
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

	// releaseScript: ID, token. It returns one if the claim was there. With the token zero, it withdraws the claim: no acquisition that
	// arrives within an hour can make it. No connection keeps a request for that long. anyToken matches every claim.
	releaseScript = newScript(`
local id, token = ARGV[3], tonumber(ARGV[4])
if token == 0 then redis.call('SET', KEYS[5], '', 'PX', 3600000) end
if token > 0 and tonumber(redis.call('ZSCORE', queue, id) or 0) ~= token then return 0 end
return leave(id)`)

	// lookScript: ID, token. It returns the number of claims before, the token of the one right before, how long that one has left, and
	// how long the claim has that ends first; or -1 if there is no such claim.
	lookScript = newScript(`
local at = redis.call('ZRANK', queue, ARGV[3])
if not at or tonumber(redis.call('ZSCORE', queue, ARGV[3])) ~= tonumber(ARGV[4]) then return {-1, '0', 0, 0} end
if at == 0 then return {0, '0', 0, 0} end
local before = redis.call('ZRANGE', queue, at - 1, at - 1, 'WITHSCORES')
local first = redis.call('ZRANGE', over, 0, 0)
return {at, string.format('%.0f', before[2]), left(before[1]), left(first[1])}`)

	// holderScript answers with the token and the value of the first claim, and how long it has left.
	holderScript = newScript(`
local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if not first[1] then return {'0', '', 0} end
return {string.format('%.0f', first[2]), redis.call('HGET', values, first[1]), left(first[1])}`)
)

// anyToken makes releaseScript remove a claim whatever its token is.
const anyToken = "-1"

// script is a Lua script and its SHA-1. A server that has run the script runs it again by its SHA-1 alone.
type script struct{ text, sha string }

func newScript(text string) script {
	text = begin + text
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// script is the request that runs a script on a name.
func (d *Driver) script(script script, name string, args ...string) request {
	return d.eval(script, d.keys(name), name, args)
}

// claimScript is the request that runs a script on a claim, whose ID is the first of its arguments.
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

// tag is what the keys of a name begin with. The braces make it one slot of a cluster, and so must be the only ones: a name may have its own.
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
