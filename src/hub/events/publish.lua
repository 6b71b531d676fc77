-- KEYS: the topic's facts, its stream, the life of the data. ARGV: an epoch for a new life, data, time, count and ttl asked for (or ''),
-- count and ttl otherwise, the shortest time to remember, the channel.
local life = redis.call('GET', KEYS[3]) or ''
local facts = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'count', 'ttl')
local epoch = facts[1]
if not epoch or facts[2] ~= life then
    epoch = ARGV[1]
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'life', life, 'offset', 0)
end
local count, ttl = ARGV[4], ARGV[5]
if count == '' then
    count, ttl = facts[3] or ARGV[6], facts[4] or ARGV[7]
end
redis.call('HSET', KEYS[1], 'count', count, 'ttl', ttl)
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
if tonumber(count) > 0 and tonumber(ttl) > 0 then
    redis.call('XADD', KEYS[2], 'MAXLEN', count, offset .. '-0', 'at', ARGV[3], 'data', ARGV[2])
    redis.call('PEXPIRE', KEYS[2], ttl)
else
    redis.call('DEL', KEYS[2])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(tonumber(ttl), tonumber(ARGV[8]))))
redis.call('PUBLISH', ARGV[9], epoch .. ' ' .. offset .. ' ' .. ARGV[3] .. ' ' .. ARGV[2])
return { epoch, offset }
