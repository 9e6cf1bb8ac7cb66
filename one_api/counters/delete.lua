-- Removes a key if its owner still has it: returns 1 then, else 0.
--
-- KEYS: the key, as claim.lua keeps it.
-- ARGV: the owner.

local prefix = ARGV[1] .. '\0'
if redis.call('GETRANGE', KEYS[1], 0, #prefix - 1) ~= prefix then
  return 0
end
return redis.call('DEL', KEYS[1])
