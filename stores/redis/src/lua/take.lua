-- KEYS has one counter for each limit of one client. ARGV has the cost, whether the state is wanted, and two values for
-- each limit: interval and full refill, or kind of window and quota. Times are 1/16 of a microsecond. A counter is the
-- time since 2025 at which the limit is full again. All limits are taken, or none.
local time = call('TIME')
local second = tonumber(time[1])
local now = ((second - 1735689600) * 1000000 + time[2]) * 16
local cost = tonumber(ARGV[1])
local values = call('MGET', unpack(KEYS))
local passes, found, counters, expiries = true, {}, {}, {}
for i = 1, #KEYS do
    local value, size = tonumber(values[i]), tonumber(ARGV[2 * i + 2])
    local interval = tonumber(ARGV[2 * i + 1])
    if interval then
        local debt = math.max((value or now) - now, 0)
        if debt > size then
            -- Another plan was larger, or the clock stepped back. Without this a client could wait for ever.
            debt = size
            if cost > 0 then set(KEYS[i], now + size, size / 16000) end
        end
        local after = debt + interval * cost
        passes = passes and after <= size
        found[#found + 1] = debt
        counters[i], expiries[i] = now + after, after / 16000
    else
        -- It expires five minutes after the end of the window, because the clock may step back.
        local last, count = window_at(ARGV[2 * i + 1], value, second)
        passes = passes and (cost == 0 or count + cost <= size)
        found[#found + 1] = count
        found[#found + 1] = (last * 86400 - second) * 1000000 - time[2]
        counters[i], expiries[i] = last * 4294967296 + count + cost, (last * 86400 - second + 300) * 1000
    end
end
if passes and cost > 0 then
    for i = 1, #KEYS do set(KEYS[i], counters[i], expiries[i]) end
end
if passes and ARGV[2] == '0' then return 1 end
table.insert(found, 1, passes and 1 or 0)
return found
