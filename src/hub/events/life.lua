-- The life of the data: another one for every run of the server, because what it wrote last before it ended may be lost. KEYS: where it is kept.
-- ARGV: the run of the server, a new life.
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, string.len(ARGV[1])) == ARGV[1] then
    return kept
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
return ARGV[1] .. ' ' .. ARGV[2]
