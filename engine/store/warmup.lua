-- warmup.lua - a second part of the library of steps.lua, joined to it by embed.sh: the pieces of warm-up counters.
-- engine/store/warmup.c is the only caller; store/warmup.h says what the fields of a source's hash hold.
--
-- A record's words: version state stage day granted, what was answered in that day, what was gathered before, since,
-- the last active day, the day it fell (warmup_record_write).
local STATE, STAGE, DAY, GRANTED, TODAY, ACTIVE, WORDS = 2, 3, 4, 5, 6, 17, 18
local ANSWERS = 5 -- kinds of what was answered
local CLOCKS_US = 60 * 1000 * 1000
local CALLERS, HISTORY = 64, 64 -- that are remembered
local TOLD_AFTER_US = 10 * 1000 * 1000

local GRANTED_NOW, LATER, FULL, CHANGED, EARLY, OUTSIDE, CLOCKS = 1, 2, 3, 4, 5, 6, 7

local function warmup_now()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function words_of(value)
    local words = {}
    for word in string.gmatch(value or '', '%S+') do words[#words + 1] = word end
    return #words == WORDS and words or nil
end

-- args of a part: counter, state, stage and day that the cap is of ("-" for the state: not known), cap (-1: none),
-- interval_us, and what was answered since the last call.
local PART_ARGS = 6 + ANSWERS

local function parts_of(keys, args, at)
    local parts = {}
    while at <= #args do
        local name = args[at]
        local known = redis.call('HMGET', keys[1], name, name .. '/next', name .. '/told')
        local part = {name = name, words = words_of(known[1]), next = tonumber(known[2] or 0), told = known[3] or '',
                      state = args[at + 1], stage = args[at + 2], day = args[at + 3], cap = tonumber(args[at + 4]),
                      interval = tonumber(args[at + 5]), answers = {}}
        for i = 1, ANSWERS do part.answers[i] = tonumber(args[at + 5 + i]) end
        parts[#parts + 1] = part
        at = at + PART_ARGS
    end
    return parts
end

-- What was answered is added whatever the day is; what is given back, only to the day that it was granted of.
local function take_in(part, given_back, day)
    if not part.words then return end
    for i = 1, ANSWERS do
        if part.answers[i] > 0 then
            part.words[TODAY + i - 1] = text(tonumber(part.words[TODAY + i - 1]) + part.answers[i])
            part.changed = true
        end
    end
    if given_back > 0 and part.words[DAY] == day then
        part.words[GRANTED] = text(math.max(0, tonumber(part.words[GRANTED]) - given_back))
        part.changed = true
    end
end

-- How many of `wanted` may be granted now, and the code that says why not all of nothing.
local function may_grant(parts, wanted, now, day)
    for _, part in ipairs(parts) do
        local words = part.words
        if words and tonumber(words[DAY]) > tonumber(day) then return 0, EARLY end
        if not words or words[DAY] ~= day or words[STATE] ~= part.state or words[STAGE] ~= part.stage or
           part.day ~= day then
            return 0, CHANGED
        end
        if part.cap >= 0 then wanted = math.min(wanted, part.cap - tonumber(words[GRANTED])) end
    end
    if wanted <= 0 then return 0, FULL end
    for _, part in ipairs(parts) do
        if now < part.next then return 0, LATER end
    end
    return wanted, GRANTED_NOW
end

local function grant(keys, part, count, now)
    if count == 0 then return end
    part.words[GRANTED] = text(tonumber(part.words[GRANTED]) + count)
    part.words[ACTIVE] = part.words[DAY]
    part.changed = true
    part.next = now + count * part.interval
    redis.call('HSET', keys[1], part.name .. '/next', text(part.next))
end

-- The calls that were answered last, one of each caller: "hand call code count now".
local function call_find(calls, hand, call)
    for caller, number, code, count, now in string.gmatch(calls, '(%S+) (%S+) (%d+) (%d+) (%d+);') do
        if caller == hand and number == call then return tonumber(code), tonumber(count), tonumber(now) end
    end
    return nil
end

local function call_note(calls, hand, entry)
    local kept, count = entry .. ';', 1
    for one, caller in string.gmatch(calls, '((%S+) [^;]*);') do
        if caller ~= hand and count < CALLERS then
            kept, count = kept .. one .. ';', count + 1
        end
    end
    return kept
end

local function warmup_answer(code, count, now, parts)
    local answer = {OK, '', code, count, now}
    for _, part in ipairs(parts) do
        -- A transition is left to those who wrote it to tell, for a while.
        local since = tonumber(string.match(part.told, '^%d+')) or now
        local told = now - since >= TOLD_AFTER_US and string.gsub(part.told, '^%d+\n', '') or ''
        answer[#answer + 1] = {part.words and table.concat(part.words, ' ') or '', part.next, told}
    end
    return answer
end

-- args: hand call wall_us day begins_us ends_us wanted given_back, and the parts.
local function warmup_ask(keys, args)
    local hand, call, day, wanted = args[1], args[2], args[4], tonumber(args[7])
    local now, parts = warmup_now(), parts_of(keys, args, 9)
    local calls = redis.call('HGET', keys[1], parts[1].name .. '/call') or ''
    local code, count, then_ = call_find(calls, hand, call)
    if code then return warmup_answer(code, count, then_, parts) end
    for _, part in ipairs(parts) do take_in(part, tonumber(args[8]), day) end
    count = 0
    if wanted == 0 then
        code = GRANTED_NOW
    elseif math.abs(now - tonumber(args[3])) > CLOCKS_US then
        code = CLOCKS
    elseif now < tonumber(args[5]) or now >= tonumber(args[6]) then
        code = OUTSIDE
    else
        count, code = may_grant(parts, wanted, now, day)
    end
    for _, part in ipairs(parts) do
        grant(keys, part, count, now)
        if part.changed then redis.call('HSET', keys[1], part.name, table.concat(part.words, ' ')) end
    end
    redis.call('HSET', keys[1], parts[1].name .. '/call',
               call_note(calls, hand, hand .. ' ' .. call .. ' ' .. code .. ' ' .. text(count) .. ' ' .. text(now)))
    return warmup_answer(code, count, now, parts)
end

-- args: counter expected record history told. A repetition finds what it wrote, unless something was granted or
-- answered since: then it is told so, and who asks reads again.
local function warmup_swap(keys, args)
    local name, record = args[1], args[3]
    local found = redis.call('HGET', keys[1], name) or ''
    if found == record then return {OK, '', 1, found} end
    if found ~= args[2] then return {OK, '', 0, found} end
    redis.call('HSET', keys[1], name, record)
    local old, new = words_of(found), words_of(record)
    if not old or not new or old[DAY] ~= new[DAY] or old[STAGE] ~= new[STAGE] or old[STATE] ~= new[STATE] then
        redis.call('HDEL', keys[1], name .. '/next')
    end
    if args[4] ~= '' then
        local kept, count = string.match(args[4], '%S+'), 1
        for item in string.gmatch(redis.call('HGET', keys[1], name .. '/history') or '', '%S+') do
            count = count + 1
            if count <= HISTORY then kept = kept .. ' ' .. item end
        end
        redis.call('HSET', keys[1], name .. '/history', kept)
    end
    if args[5] ~= '' then redis.call('HSET', keys[1], name .. '/told', text(warmup_now()) .. '\n' .. args[5]) end
    return {OK, '', 1, record}
end

-- args: counter told. It stands in the stream of operations now.
local function warmup_told(keys, args)
    local field = args[1] .. '/told'
    local told = redis.call('HGET', keys[1], field) or ''
    if string.gsub(told, '^%d+\n', '') == args[2] then redis.call('HDEL', keys[1], field) end
    return {OK, '', 1}
end

register({}, {'warmup_ask', warmup_ask, 'warmup_swap', warmup_swap})
register({'allow-oom'}, {'warmup_told', warmup_told})
