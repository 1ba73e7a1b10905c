/* What a program that uses hiredis does with its server.
 *
 *     hiredis HOST PORT [SECTION ...]
 *
 * Written for hiredis 0.14, that of Debian 12, which speaks RESP2. The server is emptied. */

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *host;
static int port;
static const char *section_name = "-";

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "hiredis: %s: line %d: %s\n", section_name, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static redisContext *open_connection(void) {
    struct timeval timeout = {30, 0};
    redisContext *connection = redisConnectWithTimeout(host, port, timeout);
    CHECK(connection != NULL && connection->err == 0);
    CHECK(redisSetTimeout(connection, timeout) == REDIS_OK);
    return connection;
}

/* Whether a reply is what is expected; it is freed. */
static int is_status(void *got, const char *text) {
    redisReply *reply = got;
    int equal = reply != NULL && reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, text) == 0;
    if (!equal && reply != NULL && reply->str != NULL) fprintf(stderr, "hiredis: got %s\n", reply->str);
    freeReplyObject(reply);
    return equal;
}

static int is_integer(void *got, long long number) {
    redisReply *reply = got;
    int equal = reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer == number;
    if (!equal && reply != NULL && reply->str != NULL) fprintf(stderr, "hiredis: got %s\n", reply->str);
    freeReplyObject(reply);
    return equal;
}

static int is_string(void *got, const char *bytes, size_t length) {
    redisReply *reply = got;
    int equal = reply != NULL && reply->type == REDIS_REPLY_STRING && (size_t)reply->len == length &&
                memcmp(reply->str, bytes, length) == 0;
    freeReplyObject(reply);
    return equal;
}

static int is_nil(void *got) {
    redisReply *reply = got;
    int equal = reply != NULL && reply->type == REDIS_REPLY_NIL;
    freeReplyObject(reply);
    return equal;
}

static int is_error(void *got, const char *beginning) {
    redisReply *reply = got;
    int equal = reply != NULL && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, beginning, strlen(beginning)) == 0;
    freeReplyObject(reply);
    return equal;
}

static int is_text(void *got, const char *text) { return is_string(got, text, strlen(text)); }

static void *next_reply(redisContext *connection) {
    void *reply = NULL;
    CHECK(redisGetReply(connection, &reply) == REDIS_OK);
    return reply;
}

static void connecting(redisContext *it) {
    CHECK(is_status(redisCommand(it, "PING"), "PONG"));
    CHECK(is_text(redisCommand(it, "ECHO %s", "two words"), "two words"));
    CHECK(is_status(redisCommand(it, "SELECT 0"), "OK"));
    CHECK(is_status(redisCommand(it, "CLIENT SETNAME worker"), "OK"));
    CHECK(is_text(redisCommand(it, "CLIENT GETNAME"), "worker"));
    redisReply *info = redisCommand(it, "INFO");
    CHECK(info != NULL && info->type == REDIS_REPLY_STRING && strstr(info->str, "redis_version:7.") != NULL);
    freeReplyObject(info);
}

static void errors(redisContext *it) {
    CHECK(is_status(redisCommand(it, "SET word one"), "OK"));
    CHECK(is_error(redisCommand(it, "NOSUCH a"), "ERR unknown command 'NOSUCH'"));
    CHECK(is_error(redisCommand(it, "GET"), "ERR wrong number of arguments for 'get' command"));
    CHECK(is_error(redisCommand(it, "INCR word"), "ERR value is not an integer or out of range"));
    CHECK(is_text(redisCommand(it, "GET word"), "one"));
}

static void strings(redisContext *it) {
    CHECK(is_status(redisCommand(it, "SET %s %s", "key", "a value"), "OK"));
    CHECK(is_text(redisCommand(it, "GET key"), "a value"));
    CHECK(is_nil(redisCommand(it, "GET nosuch")));
    CHECK(is_nil(redisCommand(it, "SET key x NX")));
    CHECK(is_integer(redisCommand(it, "APPEND key %s", "!"), 8));
    CHECK(is_integer(redisCommand(it, "STRLEN key"), 8));
    CHECK(is_text(redisCommand(it, "GETRANGE key 0 0"), "a"));
    CHECK(is_text(redisCommand(it, "GETDEL key"), "a value!"));
    CHECK(is_integer(redisCommand(it, "EXISTS key key"), 0));
}

static void binary(redisContext *it) {
    size_t length = 1024 * 1024;
    char *value = malloc(length);
    CHECK(value != NULL);
    for (size_t n = 0; n < length; n++) value[n] = (char)n;
    CHECK(is_status(redisCommand(it, "SET %b %b", "k\0\r\n", (size_t)4, value, length), "OK"));
    CHECK(is_string(redisCommand(it, "GET %b", "k\0\r\n", (size_t)4), value, length));
    CHECK(is_status(redisCommand(it, "SET empty %b", "", (size_t)0), "OK"));
    CHECK(is_string(redisCommand(it, "GET empty"), "", 0));
    free(value);
}

static void expiry(redisContext *it) {
    CHECK(is_status(redisCommand(it, "SET short x PX 60"), "OK"));
    CHECK(is_status(redisCommand(it, "SETEX long 1000 x"), "OK"));
    redisReply *ttl = redisCommand(it, "TTL long");
    CHECK(ttl != NULL && ttl->type == REDIS_REPLY_INTEGER && ttl->integer > 990 && ttl->integer <= 1000);
    freeReplyObject(ttl);
    CHECK(is_integer(redisCommand(it, "PERSIST long"), 1));
    CHECK(is_integer(redisCommand(it, "TTL long"), -1));
    CHECK(is_integer(redisCommand(it, "TTL nosuch"), -2));
    usleep(80 * 1000);
    CHECK(is_nil(redisCommand(it, "GET short")));
}

static void counters(redisContext *it) {
    CHECK(is_integer(redisCommand(it, "INCR n"), 1));
    CHECK(is_integer(redisCommand(it, "INCRBY n %d", 41), 42));
    CHECK(is_integer(redisCommand(it, "DECRBY n 50"), -8));
    CHECK(is_text(redisCommand(it, "INCRBYFLOAT f 0.25"), "0.25"));
}

static void many(redisContext *it) {
    const char *words[] = {"MSET", "a", "1", "b", "2", "c", "3"};
    CHECK(is_status(redisCommandArgv(it, 7, words, NULL), "OK"));
    redisReply *values = redisCommand(it, "MGET a nosuch c");
    CHECK(values != NULL && values->type == REDIS_REPLY_ARRAY && values->elements == 3);
    CHECK(strcmp(values->element[0]->str, "1") == 0);
    CHECK(values->element[1]->type == REDIS_REPLY_NIL);
    CHECK(strcmp(values->element[2]->str, "3") == 0);
    freeReplyObject(values);
    CHECK(is_integer(redisCommand(it, "DBSIZE"), 3));
    CHECK(is_integer(redisCommand(it, "DEL a b c d"), 3));
}

static void pipeline(redisContext *it) {
    for (int n = 0; n < 100; n++) {
        CHECK(redisAppendCommand(it, "SET key:%d %d", n, n) == REDIS_OK);
        CHECK(redisAppendCommand(it, "GET key:%d", n) == REDIS_OK);
    }
    CHECK(redisAppendCommand(it, "NOSUCH") == REDIS_OK);
    for (int n = 0; n < 100; n++) {
        char number[16];
        snprintf(number, sizeof number, "%d", n);
        CHECK(is_status(next_reply(it), "OK"));
        CHECK(is_text(next_reply(it), number));
    }
    CHECK(is_error(next_reply(it), "ERR unknown command"));
}

static void transaction(redisContext *it) {
    CHECK(redisAppendCommand(it, "MULTI") == REDIS_OK);
    CHECK(redisAppendCommand(it, "SET key 1") == REDIS_OK);
    CHECK(redisAppendCommand(it, "INCR key") == REDIS_OK);
    CHECK(redisAppendCommand(it, "EXEC") == REDIS_OK);
    CHECK(is_status(next_reply(it), "OK"));
    CHECK(is_status(next_reply(it), "QUEUED"));
    CHECK(is_status(next_reply(it), "QUEUED"));
    redisReply *done = next_reply(it);
    CHECK(done->type == REDIS_REPLY_ARRAY && done->elements == 2);
    CHECK(done->element[0]->type == REDIS_REPLY_STATUS && done->element[1]->integer == 2);
    freeReplyObject(done);

    CHECK(is_status(redisCommand(it, "MULTI"), "OK"));
    CHECK(is_status(redisCommand(it, "SET key 5"), "QUEUED"));
    CHECK(is_status(redisCommand(it, "DISCARD"), "OK"));
    CHECK(is_status(redisCommand(it, "MULTI"), "OK"));
    CHECK(is_error(redisCommand(it, "NOSUCH"), "ERR unknown command"));
    CHECK(is_error(redisCommand(it, "EXEC"), "EXECABORT"));
    CHECK(is_text(redisCommand(it, "GET key"), "2"));
}

static void watch(redisContext *it) {
    redisContext *other = open_connection();
    CHECK(is_status(redisCommand(it, "SET key 1"), "OK"));
    CHECK(is_status(redisCommand(it, "WATCH key"), "OK"));
    CHECK(is_status(redisCommand(other, "SET key 2"), "OK"));
    CHECK(is_status(redisCommand(it, "MULTI"), "OK"));
    CHECK(is_status(redisCommand(it, "SET key mine"), "QUEUED"));
    CHECK(is_nil(redisCommand(it, "EXEC")));
    CHECK(is_text(redisCommand(it, "GET key"), "2"));
    CHECK(is_status(redisCommand(it, "WATCH key"), "OK"));
    CHECK(is_status(redisCommand(it, "MULTI"), "OK"));
    CHECK(is_status(redisCommand(it, "SET key mine"), "QUEUED"));
    freeReplyObject(redisCommand(it, "EXEC"));
    CHECK(is_text(redisCommand(other, "GET key"), "mine"));
    redisFree(other);
}

static void scan(redisContext *it) {
    char seen[1000] = {0};
    for (int n = 0; n < 1000; n++) redisAppendCommand(it, "SET user:%d x", n);
    for (int n = 0; n < 1000; n++) CHECK(is_status(next_reply(it), "OK"));
    CHECK(is_status(redisCommand(it, "SET other x"), "OK"));
    char cursor[32] = "0";
    int found = 0;
    do {
        redisReply *page = redisCommand(it, "SCAN %s MATCH user:* COUNT 100", cursor);
        CHECK(page != NULL && page->type == REDIS_REPLY_ARRAY && page->elements == 2);
        CHECK(page->element[0]->type == REDIS_REPLY_STRING);
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        for (size_t n = 0; n < page->element[1]->elements; n++) {
            int number = -1;
            CHECK(sscanf(page->element[1]->element[n]->str, "user:%d", &number) == 1);
            CHECK(number >= 0 && number < 1000);
            found += !seen[number];
            seen[number] = 1;
        }
        freeReplyObject(page);
    } while (strcmp(cursor, "0") != 0);
    CHECK(found == 1000);
}

static void pubsub(redisContext *it) {
    redisContext *listener = open_connection();
    redisReply *reply = redisCommand(listener, "SUBSCRIBE news");
    CHECK(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    CHECK(strcmp(reply->element[0]->str, "subscribe") == 0 && reply->element[2]->integer == 1);
    freeReplyObject(reply);
    CHECK(is_integer(redisCommand(it, "PUBLISH news %b", "a\0b", (size_t)3), 1));
    reply = next_reply(listener);
    CHECK(reply->elements == 3 && strcmp(reply->element[0]->str, "message") == 0);
    CHECK(strcmp(reply->element[1]->str, "news") == 0);
    CHECK(reply->element[2]->len == 3 && memcmp(reply->element[2]->str, "a\0b", 3) == 0);
    freeReplyObject(reply);
    reply = redisCommand(listener, "UNSUBSCRIBE news");
    CHECK(reply != NULL && strcmp(reply->element[0]->str, "unsubscribe") == 0 && reply->element[2]->integer == 0);
    freeReplyObject(reply);
    CHECK(is_integer(redisCommand(it, "PUBLISH news x"), 0));
    redisFree(listener);
}

static const struct {
    const char *name;
    void (*run)(redisContext *);
} SECTIONS[] = {
    {"connect", connecting}, {"errors", errors},           {"strings", strings}, {"binary", binary},
    {"expiry", expiry},      {"counters", counters},       {"many", many},       {"pipeline", pipeline},
    {"watch", watch},        {"transaction", transaction}, {"scan", scan},       {"pubsub", pubsub},
};

static int is_wanted(const char *name, int count, char **wanted) {
    for (int n = 0; n < count; n++) {
        if (strcmp(wanted[n], name) == 0) return 1;
    }
    return count == 0;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: hiredis HOST PORT [SECTION ...]\n");
        return 2;
    }
    host = argv[1];
    port = atoi(argv[2]);
    int count = 0;
    for (size_t n = 0; n < sizeof SECTIONS / sizeof *SECTIONS; n++) {
        if (!is_wanted(SECTIONS[n].name, argc - 3, argv + 3)) continue;
        section_name = SECTIONS[n].name;
        redisContext *connection = open_connection();
        CHECK(is_status(redisCommand(connection, "FLUSHDB"), "OK"));
        SECTIONS[n].run(connection);
        redisFree(connection);
        count++;
    }
    CHECK(count > 0);
    printf("hiredis %d.%d.%d: %d sections passed\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH, count);
    return 0;
}
