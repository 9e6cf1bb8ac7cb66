-- Sets the value of a key if its owner still has it: returns 1 then, else 0.
--
-- KEYS: the key, as claim.lua keeps it.
-- ARGV: the owner, the value, and the ms that it is kept.

local prefix = ARGV[1] .. '\0'
if redis.call('GETRANGE', KEYS[1], 0, #prefix - 1) ~= prefix then
  return 0
end
redis.call('SET', KEYS[1], prefix .. ARGV[2], 'PX', ARGV[3])
return 1
