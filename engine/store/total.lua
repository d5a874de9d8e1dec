-- total.lua - a part of the library of steps.lua: who has how much of what all engines together may send to an ISP.
-- engine/store/total.c is the only caller. The hash has a field for each engine and incarnation that has or wants a share:
-- how many parts, of how many, until when (ms), and whether it wants any.
--
-- Shares that have not run out never add up to more than the whole. An engine that dies keeps its share until it runs
-- out; one that is to have less keeps what it says that it still uses until it says otherwise.
local WHOLE = 720720 -- shares of engines that count in different parts are added up in these
local TURN_MS = 30 * 1000 -- where there are more engines than parts they take turns

-- args: engine incarnation parts uses wants life_ms. Answers how many parts the engine has from now on.
local function total(keys, args)
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    local me, parts, wants = args[1] .. '/' .. args[2], tonumber(args[3]), args[5] == '1'
    local others, mine, wanting = 0, 0, {}
    local all = redis.call('HGETALL', keys[1])
    for at = 1, #all, 2 do
        local n, of, till, wish = string.match(all[at + 1], '^(%d+) (%d+) (%d+) (%d)$')
        if not n or tonumber(till) <= now then
            redis.call('HDEL', keys[1], all[at])
        elseif all[at] == me then
            mine = math.floor(tonumber(n) * parts / tonumber(of))
        else
            others = others + math.ceil(tonumber(n) * WHOLE / tonumber(of))
            if wish == '1' then wanting[#wanting + 1] = all[at] end
        end
    end
    local fair = 0
    if wants then
        wanting[#wanting + 1] = me
        table.sort(wanting)
        local rank = 0
        for at = 1, #wanting do
            if wanting[at] == me then rank = at - 1 end
        end
        rank = (rank + math.floor(now / TURN_MS)) % #wanting
        fair = math.floor(parts / #wanting) + (rank < parts % #wanting and 1 or 0)
    end
    local free = math.max(0, math.floor((WHOLE - others) * parts / WHOLE))
    local granted = math.min(fair, free)
    local held = math.max(granted, math.min(tonumber(args[4]), mine))
    if held == 0 and not wants then
        redis.call('HDEL', keys[1], me)
    else
        redis.call('HSET', keys[1], me, string.format('%d %d %.0f %d', held, parts, now + tonumber(args[6]),
                                                      wants and 1 or 0))
        redis.call('PEXPIRE', keys[1], args[6])
    end
    return {OK, '', granted}
end

register({}, {'total', total})
