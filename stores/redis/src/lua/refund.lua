-- KEYS has one counter for each limit of one client. ARGV has the age of the take in seconds, and three values for each
-- limit: full refill, `rate` and the time to give back, or quota, kind of window and cost.
local time = call('TIME')
local second = tonumber(time[1])
local now = ((second - 1735689600) * 1000000 + time[2]) * 16
local values = call('MGET', unpack(KEYS))
for i = 1, #KEYS do
    local value, size = tonumber(values[i]), tonumber(ARGV[3 * i - 1])
    local kind, back = ARGV[3 * i], tonumber(ARGV[3 * i + 1])
    if value and kind == 'rate' then
        local debt = math.min(math.max(value - now, 0), size) - back
        if debt > 0 then
            set(KEYS[i], now + debt, debt / 16000)
        else
            call('DEL', KEYS[i])
        end
    elseif value then
        local last, count = window_at(kind, value, second)
        if last == window_at(kind, nil, second - ARGV[1]) then
            set(KEYS[i], last * 4294967296 + math.max(count - back, 0), (last * 86400 - second + 300) * 1000)
        end
    end
end
return 1
