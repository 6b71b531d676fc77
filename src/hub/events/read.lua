-- KEYS: the topic's facts, its stream, the life of the data. ARGV: an epoch for a new life ('': make none), how many events at most, the time
-- to remember it.
local life = redis.call('GET', KEYS[3]) or ''
local facts = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'offset', 'count', 'ttl')
local epoch, offset = facts[1], facts[3]
if not epoch or facts[2] ~= life then
    if ARGV[1] == '' then
        return {}
    end
    epoch, offset = ARGV[1], 0
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'life', life, 'offset', 0)
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return { epoch, offset, facts[4] or '', facts[5] or '', redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[2]) }
