-- Makes a key the property of an owner if nobody has it: returns nil then, else its value.
--
-- KEYS: the key; it holds its owner, a zero byte and its value.
-- ARGV: the owner, and the ms that it keeps the key.

local claimed = ARGV[1] .. '\0'
local held = redis.call('GET', KEYS[1])
if held and held ~= claimed then
  return string.sub(held, string.find(held, '\0', 1, true) + 1)
end
redis.call('SET', KEYS[1], claimed, 'PX', ARGV[2])
return false
