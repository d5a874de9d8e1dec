/* The fake Redis: function libraries. They run in the Lua that Redis itself embeds, version 5.1, so that the simulation
 * executes the production steps; what is ours is the way between Lua's values and RESP. */
#include "fake_command.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char fake_of[] = "fake redis"; /* its address is the registry's key */

static struct fake_redis *fake_in(lua_State *lua)
{
    lua_pushlightuserdata(lua, (void *)(uintptr_t)fake_of);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    struct fake_redis *fake = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    return fake;
}

/* ---- RESP to Lua ---- */

static void push_table_field(lua_State *lua, const char *field, const char *text, size_t n)
{
    lua_newtable(lua);
    lua_pushlstring(lua, text, n);
    lua_setfield(lua, -2, field);
}

/* Pushes the value at `p`; returns what follows it. */
static const char *push_reply(lua_State *lua, const char *p)
{
    const char *line = p + 1, *end = strchr(line, '\r');
    long long number = strtoll(line, NULL, 10);
    const char *rest = end + 2;
    switch (*p) {
    case ':':
        lua_pushnumber(lua, (lua_Number)number);
        return rest;
    case '+':
        push_table_field(lua, "ok", line, (size_t)(end - line));
        return rest;
    case '-':
        push_table_field(lua, "err", line, (size_t)(end - line));
        return rest;
    case '$':
        if (number < 0) {
            lua_pushboolean(lua, 0);
            return rest;
        }
        lua_pushlstring(lua, rest, (size_t)number);
        return rest + number + 2;
    default:
        sluice_assert(*p == '*');
        if (number < 0) {
            lua_pushboolean(lua, 0);
            return rest;
        }
        lua_createtable(lua, (int)number, 0);
        luaL_checkstack(lua, 8, "a reply too deep");
        for (int i = 1; i <= number; i++) {
            rest = push_reply(lua, rest);
            lua_rawseti(lua, -2, i);
        }
        return rest;
    }
}

/* ---- Lua to RESP ---- */

static void say_field_line(lua_State *lua, const char *field, struct fake_buffer *out)
{
    lua_getfield(lua, -1, field);
    if (strcmp(field, "err") == 0)
        fake_say_error(out, "%s", lua_tostring(lua, -1));
    else
        fake_say_status(out, lua_tostring(lua, -1));
    lua_pop(lua, 1);
}

static bool has_field(lua_State *lua, const char *field)
{
    lua_getfield(lua, -1, field);
    bool has = lua_type(lua, -1) == LUA_TSTRING;
    lua_pop(lua, 1);
    return has;
}

/* Says the value on top of the stack, and pops it. */
static void say_value(lua_State *lua, struct fake_buffer *out)
{
    size_t n;
    int members = 0;
    luaL_checkstack(lua, 4, "a reply too deep");
    switch (lua_type(lua, -1)) {
    case LUA_TSTRING: {
        const char *text = lua_tolstring(lua, -1, &n);
        fake_say_text(out, (struct slice){text, n});
        break;
    }
    case LUA_TNUMBER: /* cut, not rounded */
        fake_say_number(out, (int64_t)lua_tonumber(lua, -1));
        break;
    case LUA_TBOOLEAN:
        if (lua_toboolean(lua, -1))
            fake_say_number(out, 1);
        else
            fake_say_nil(out);
        break;
    case LUA_TTABLE:
        if (has_field(lua, "err")) {
            say_field_line(lua, "err", out);
            break;
        }
        if (has_field(lua, "ok")) {
            say_field_line(lua, "ok", out);
            break;
        }
        /* An array ends at its first nil. */
        for (bool more = true; more; lua_pop(lua, 1)) {
            lua_rawgeti(lua, -1, members + 1);
            more = !lua_isnil(lua, -1);
            members += more;
        }
        fake_say_array(out, (size_t)members);
        for (int i = 1; i <= members; i++) {
            lua_rawgeti(lua, -1, i);
            say_value(lua, out);
        }
        break;
    default:
        fake_say_nil(out);
    }
    lua_pop(lua, 1);
}

/* ---- redis.* ---- */

static bool read_arguments(lua_State *lua, struct slice *args, char (*numbers)[32], int count)
{
    for (int i = 0; i < count; i++) {
        int type = lua_type(lua, i + 1);
        if (type == LUA_TNUMBER) { /* as Redis does, not as Lua would */
            int n = snprintf(numbers[i], sizeof numbers[i], "%.17g", lua_tonumber(lua, i + 1));
            args[i] = (struct slice){numbers[i], (size_t)n};
        } else if (type == LUA_TSTRING) {
            size_t n;
            const char *text = lua_tolstring(lua, i + 1, &n);
            args[i] = (struct slice){text, n};
        } else
            return false;
    }
    return true;
}

static void run_within(lua_State *lua, const struct slice *args, int count, struct fake_buffer *out)
{
    struct fake_redis *fake = fake_in(lua);
    const struct fake_command *command = count ? fake_command_find(args[0]) : NULL;
    if (!fake->running)
        fake_say_error(out, "ERR redis.call/pcall can only be called inside a script invocation");
    else if (!command)
        fake_say_error(out, "ERR Unknown Redis command called from script");
    else if (command->flags & FAKE_NO_SCRIPT)
        fake_say_error(out, "ERR This Redis command is not allowed from script");
    else if ((command->flags & FAKE_WRITES) && fake->running->no_writes)
        fake_say_error(out, "ERR Write commands are not allowed from read-only scripts.");
    else
        fake_run(fake, args, (unsigned)count, out);
}

static int call(lua_State *lua, bool raise)
{
    int count = lua_gettop(lua);
    struct slice *args = calloc((size_t)count + 1, sizeof *args);
    char(*numbers)[32] = calloc((size_t)count + 1, sizeof *numbers);
    struct fake_buffer out = {0};
    sluice_assert(args && numbers);
    if (read_arguments(lua, args, numbers, count))
        run_within(lua, args, count, &out);
    else
        fake_say_error(&out, "ERR Lua redis lib command arguments must be strings or integers");
    free(args);
    free(numbers);
    bool failed = out.p[0] == '-';
    (void)push_reply(lua, out.p);
    free(out.p);
    return failed && raise ? lua_error(lua) : 1;
}

static int redis_call(lua_State *lua) { return call(lua, true); }
static int redis_pcall(lua_State *lua) { return call(lua, false); }

static int redis_error_reply(lua_State *lua)
{
    const char *text = luaL_checkstring(lua, 1);
    push_table_field(lua, "err", text, strlen(text));
    return 1;
}

static int redis_status_reply(lua_State *lua)
{
    const char *text = luaL_checkstring(lua, 1);
    push_table_field(lua, "ok", text, strlen(text));
    return 1;
}

static int redis_log(lua_State *lua)
{
    (void)lua;
    return 0;
}

/* redis.register_function{function_name=, callback=, flags={}}; the library stands in an upvalue. */
static int redis_register_function(lua_State *lua)
{
    struct fake_library *library = lua_touserdata(lua, lua_upvalueindex(1));
    struct fake_redis *fake = fake_in(lua);
    struct fake_function *function = calloc(1, sizeof *function);
    sluice_assert(function);
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_getfield(lua, 1, "function_name");
    snprintf(function->name, sizeof function->name, "%s", luaL_checkstring(lua, -1));
    lua_getfield(lua, 1, "flags");
    for (int i = 1; lua_istable(lua, -1); i++) {
        lua_rawgeti(lua, -1, i);
        const char *flag = lua_tostring(lua, -1);
        if (!flag) {
            lua_pop(lua, 1);
            break;
        }
        function->no_writes |= strcmp(flag, "no-writes") == 0;
        function->allow_oom |= strcmp(flag, "allow-oom") == 0;
        lua_pop(lua, 1);
    }
    lua_getfield(lua, 1, "callback");
    luaL_checktype(lua, -1, LUA_TFUNCTION);
    function->callback = luaL_ref(lua, LUA_REGISTRYINDEX);
    function->library = library;
    function->next = fake->functions;
    fake->functions = function;
    return 0;
}

/* Redis lets scripts neither make nor read globals that are not there. */
static int no_global(lua_State *lua)
{
    return luaL_error(lua, "Script attempted to access nonexistent global variable '%s'", lua_tostring(lua, 2));
}

static void open_lua(struct fake_redis *fake, struct fake_library *library)
{
    lua_State *lua = library->lua;
    luaL_openlibs(lua);
    lua_pushlightuserdata(lua, (void *)(uintptr_t)fake_of);
    lua_pushlightuserdata(lua, fake);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    static const luaL_Reg functions[] = {{"call", redis_call},
                                         {"pcall", redis_pcall},
                                         {"error_reply", redis_error_reply},
                                         {"status_reply", redis_status_reply},
                                         {"log", redis_log},
                                         {NULL, NULL}};
    luaL_register(lua, "redis", functions);
    lua_pushlightuserdata(lua, library);
    lua_pushcclosure(lua, redis_register_function, 1);
    lua_setfield(lua, -2, "register_function");
    static const char *const absent[] = {"print", "dofile", "loadfile", "io", "require", "package", "debug", "module"};
    for (unsigned i = 0; i < countof(absent); i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, absent[i]);
    }
    lua_newtable(lua);
    lua_pushcfunction(lua, no_global);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, no_global);
    lua_setfield(lua, -2, "__newindex");
    lua_setmetatable(lua, LUA_GLOBALSINDEX);
    lua_settop(lua, 0);
}

/* ---- commands ---- */

static struct fake_library *library_find(struct fake_redis *fake, struct slice name)
{
    struct fake_library *library = fake->libraries;
    while (library && !slice_equal(slice_of(library->name), name))
        library = library->next;
    return library;
}

static void library_remove(struct fake_redis *fake, struct fake_library *library)
{
    for (struct fake_function **at = &fake->functions; *at;) {
        struct fake_function *function = *at;
        if (function->library == library) {
            *at = function->next;
            free(function);
        } else
            at = &function->next;
    }
    for (struct fake_library **at = &fake->libraries; *at; at = &(*at)->next)
        if (*at == library) {
            *at = library->next;
            break;
        }
    lua_close(library->lua);
    free(library->source);
    free(library);
}

void fake_libraries_free(struct fake_redis *fake)
{
    while (fake->libraries)
        library_remove(fake, fake->libraries);
}

/* FUNCTION LOAD "#!lua name=NAME\n..." */
static void load(struct fake_redis *fake, struct slice source, struct fake_buffer *out)
{
    static const char head[] = "#!lua name=";
    const char *line_end = source.n ? memchr(source.p, '\n', source.n) : NULL;
    size_t head_n = sizeof head - 1;
    if (!line_end || !slice_starts_with(source, SLICE(head))) {
        fake_say_error(out, "ERR Missing library metadata");
        return;
    }
    struct slice name = {source.p + head_n, (size_t)(line_end - source.p) - head_n};
    if (library_find(fake, name)) {
        fake_say_error(out, "ERR Library '%.*s' already exists", SLICE_ARGS(name));
        return;
    }
    struct fake_library *library = calloc(1, sizeof *library);
    sluice_assert(library);
    slice_copy(library->name, sizeof library->name, name);
    library->source = fake_text_new(source);
    library->lua = luaL_newstate();
    sluice_assert(library->lua);
    library->next = fake->libraries;
    fake->libraries = library;
    open_lua(fake, library);
    if (luaL_loadbuffer(library->lua, line_end, source.n - head_n - name.n, "@user_function") ||
        lua_pcall(library->lua, 0, 0, 0)) {
        fake_say_error(out, "ERR Error registering functions: %s", lua_tostring(library->lua, -1));
        library_remove(fake, library);
        return;
    }
    fake_say_text(out, name);
}

void fake_libraries_restart(struct fake_redis *fake)
{
    unsigned count = 0;
    for (const struct fake_library *library = fake->libraries; library; library = library->next)
        count++;
    while (count--) { /* each goes, and comes again to the front */
        struct fake_library *last = fake->libraries;
        while (last->next)
            last = last->next;
        struct fake_text *source = last->source;
        struct fake_buffer out = {0};
        last->source = NULL;
        library_remove(fake, last);
        load(fake, fake_text_slice(source), &out);
        free(out.p);
        free(source);
    }
}

static void list(struct fake_redis *fake, struct slice name, struct fake_buffer *out)
{
    const struct fake_library *library = library_find(fake, name);
    fake_say_array(out, library ? 1 : 0);
    if (!library)
        return;
    fake_say_array(out, 6);
    fake_say_text(out, SLICE("library_name"));
    fake_say_text(out, name);
    fake_say_text(out, SLICE("engine"));
    fake_say_text(out, SLICE("LUA"));
    fake_say_text(out, SLICE("functions"));
    fake_say_array(out, 0);
}

static void run_function(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    if (count == 4 && fake_word(args[1], "LIST") && fake_word(args[2], "LIBRARYNAME"))
        list(fake, args[3], out);
    else if (count == 3 && fake_word(args[1], "LOAD"))
        load(fake, args[2], out);
    else if (count == 2 && fake_word(args[1], "FLUSH")) {
        fake_libraries_free(fake);
        fake_say_status(out, "OK");
    } else
        fake_say_error(out, "ERR unknown subcommand of FUNCTION");
}

static void push_texts(lua_State *lua, const struct slice *texts, unsigned count)
{
    lua_createtable(lua, (int)count, 0);
    for (unsigned i = 0; i < count; i++) {
        lua_pushlstring(lua, texts[i].n ? texts[i].p : "", texts[i].n);
        lua_rawseti(lua, -2, (int)i + 1);
    }
}

static void count_answer(struct fake_redis *fake, struct slice answer)
{
    fake->counts.steps++;
    fake->counts.fenced += slice_starts_with(answer, SLICE("*2\r\n:0\r\n"));
    fake->counts.gone += slice_starts_with(answer, SLICE("*2\r\n:-1\r\n"));
}

/* FCALL name numkeys key... argument... */
static void run_fcall(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_function *function = fake->functions;
    int64_t keys;
    while (function && !slice_equal(slice_of(function->name), args[1]))
        function = function->next;
    if (!function) {
        fake_say_error(out, "ERR Function not found");
        return;
    }
    if (!fake_integer(args[2], &keys) || keys < 0 || keys > (int64_t)count - 3) {
        fake_say_error(out, "ERR Number of keys can't be greater than number of args");
        return;
    }
    /* Scripts are refused as a whole, before they begin. */
    if (fake->client && fake->mode == FAKE_REDIS_OOM && !function->no_writes && !function->allow_oom) {
        fake_say_error(out, "OOM command not allowed when used memory > 'maxmemory'.");
        return;
    }
    if (fake->client && fake_unwilling_to_write(fake) && !function->no_writes) {
        fake_say_error(out, "%s", fake_unwilling_to_write(fake));
        return;
    }
    lua_State *lua = function->library->lua;
    size_t before = out->n;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, function->callback);
    push_texts(lua, args + 3, (unsigned)keys);
    push_texts(lua, args + 3 + keys, count - 3 - (unsigned)keys);
    fake->running = function;
    bool failed = lua_pcall(lua, 2, 1, 0) != 0;
    fake->running = NULL;
    if (failed && lua_type(lua, -1) == LUA_TSTRING) {
        fake_say_error(out, "ERR %s script: %s", lua_tostring(lua, -1), function->name);
        lua_pop(lua, 1);
    } else
        say_value(lua, out);
    lua_settop(lua, 0);
    count_answer(fake, (struct slice){out->p + before, out->n - before});
}

const struct fake_command fake_function_commands[] = {
    {"FUNCTION", -2, FAKE_NO_SCRIPT, run_function},
    {"FCALL", -3, FAKE_NO_SCRIPT, run_fcall},
    {NULL, 0, 0, NULL},
};
