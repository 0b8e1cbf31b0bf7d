package redissync

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// All scripts have these keys: the claims' order (a sorted set of IDs by token), when they are over (a sorted set of IDs by milliseconds),
// their values (a hash) and the last token. Their first arguments are the channel and the name. What is over goes first.
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
	redis.call('PUBLISH', channel, string.format('%.0f', token) .. ' ' .. name)
	return 1
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', over, '-inf', now)) do leave(id) end
local function left(id) return math.floor((redis.call('ZSCORE', over, id) or now) - now) end
`

const (
	// acquireScript: ID, TTL, value, the most claims that may be there before. It answers with the token and the claims before, or with
	// zero. Microseconds are exact as Lua's numbers, which are doubles, for another two centuries. The last token is kept for a day after
	// the last claim: by then, time alone is larger.
	acquireScript = begin + `
local id, ttl, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
local before = redis.call('ZCARD', queue)
if before >= most then return {'0', before} end
local token = math.max(time[1] * 1000000 + time[2], (tonumber(redis.call('GET', last)) or 0) + 1)
local text = string.format('%.0f', token)
redis.call('SET', last, text, 'PX', 86400000 + ttl)
redis.call('ZADD', queue, text, id)
redis.call('ZADD', over, now + ttl, id)
redis.call('HSET', values, id, ARGV[5])
for _, key in ipairs({queue, over, values}) do redis.call('PEXPIRE', key, 86400000 + ttl) end
if before == 0 then redis.call('PUBLISH', channel, '0 ' .. name) end
return {text, before}`

	// renewScript: TTL, IDs. It answers with how many of them there are.
	renewScript = begin + `
local ttl, found = tonumber(ARGV[3]), 0
for i = 4, #ARGV do
	if redis.call('ZSCORE', queue, ARGV[i]) then
		redis.call('ZADD', over, now + ttl, ARGV[i])
		found = found + 1
	end
end
for _, key in ipairs({queue, over, values, last}) do redis.call('PEXPIRE', key, 86400000 + ttl) end
return found`

	// releaseScript: ID. It answers with one if the claim was there.
	releaseScript = begin + `return leave(ARGV[3])`

	// lookScript: ID. It answers with the claims before, the token of the one right before, how long that one has left, and how long the first
	// of all has that is over; or with -1.
	lookScript = begin + `
local at = redis.call('ZRANK', queue, ARGV[3])
if not at then return {-1, '0', 0, 0} end
if at == 0 then return {0, '0', 0, 0} end
local before = redis.call('ZRANGE', queue, at - 1, at - 1, 'WITHSCORES')
local first = redis.call('ZRANGE', over, 0, 0)
return {at, string.format('%.0f', before[2]), left(before[1]), left(first[1])}`

	// holderScript answers with the token and the value of the first claim, and how long it has left.
	holderScript = begin + `
local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if not first[1] then return {'0', '', 0} end
return {string.format('%.0f', first[2]), redis.call('HGET', values, first[1]), left(first[1])}`
)

// script is the command that runs a script on a name.
func (d *Driver) script(script, name string, args ...string) rueidis.Completed {
	// The braces make it one slot of a cluster, and so must be the only ones: a name may have its own.
	tag := d.prefix + "{" + strings.NewReplacer("%", "%25", "{", "%7b", "}", "%7d").Replace(name) + "}"
	return d.client.B().Eval().Script(script).Numkeys(4).Key(tag+":queue", tag+":over", tag+":values", tag+":token").
		Arg(d.channel(), name).Arg(args...).Build()
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (d *Driver) channel() string { return d.prefix + "left" }

// listen hears messages on a connection of its own.
func (d *Driver) listen(ctx context.Context, heard func(), message func(string)) error {
	client, release := d.client.Dedicate()
	defer release()
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { message(m.Message) },
	})
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Do(within, client.B().Subscribe().Channel(d.channel()).Build()).Error(); err != nil {
		return err
	}
	heard()
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
