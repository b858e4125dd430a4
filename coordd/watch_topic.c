/* Who watches a path: found by a hash of the path, and of its beginnings of those lengths that anybody has
 * asked for. The cost does not depend on how many watch other things. */
#include "base/check.h"
#include "base/memory.h"
#include "coordd/watch_internal.h"

static const uint64_t hash_start = 0xcbf29ce484222325u;

static uint64_t hash_byte(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * 0x100000001b3u;
}

static uint64_t hash_of(struct slice path, bool prefix)
{
    uint64_t hash = hash_start;
    for (size_t i = 0; i < path.size; i++) hash = hash_byte(hash, path.data[i]);
    hash = hash_byte(hash, prefix);
    return hash ? hash : 1;
}

static void count_length(struct topics *topics, size_t length, int change)
{
    CHECK(length <= EVENT_PATH_MAX);
    bool had = topics->lengths[length] > 0;
    topics->lengths[length] += (uint32_t)change;
    if (had == (topics->lengths[length] > 0)) return;
    topics->used_count = 0;
    for (size_t i = 0; i <= EVENT_PATH_MAX; i++)
        if (topics->lengths[i]) topics->used[topics->used_count++] = (uint16_t)i;
}

static bool same_types(const struct topic *topic, struct list types)
{
    const struct slice *wanted = types.items;
    if (topic->type_count != types.count) return false;
    for (size_t i = 0; i < types.count; i++)
        if (!slice_equal(topic->types[i], wanted[i])) return false;
    return true;
}

static struct topic *topic_new(const struct watch_scope *scope, struct list types)
{
    size_t bytes = scope->path.size;
    const struct slice *wanted = types.items;
    for (size_t i = 0; i < types.count; i++) bytes += wanted[i].size;
    struct topic *topic = memory_new(sizeof *topic + types.count * sizeof(struct slice) + bytes);
    topic->types = (struct slice *)(void *)(topic + 1);
    uint8_t *at = (uint8_t *)(topic->types + types.count);
    topic->path = slice_of(at, scope->path.size);
    if (scope->path.size) memcpy(at, scope->path.data, scope->path.size);
    at += scope->path.size;
    topic->type_count = types.count;
    for (size_t i = 0; i < types.count; i++) {
        topic->types[i] = slice_of(at, wanted[i].size);
        if (wanted[i].size) memcpy(at, wanted[i].data, wanted[i].size);
        at += wanted[i].size;
    }
    topic->prefix = scope->prefix;
    link_open(&topic->watchers);
    link_open(&topic->polls);
    return topic;
}

struct topic *topics_hold(struct topics *topics, const struct watch_scope *scope, struct list types)
{
    uint64_t hash = hash_of(scope->path, scope->prefix);
    struct topic *first = map_get(&topics->by_hash, hash), *topic = first;
    while (topic && !(topic->prefix == scope->prefix && slice_equal(topic->path, scope->path) &&
                      same_types(topic, types)))
        topic = topic->next;
    if (topic) return topic;
    topic = topic_new(scope, types);
    topic->hash = hash;
    topic->next = first;
    map_put(&topics->by_hash, hash, topic);
    topics->count++;
    if (scope->prefix) count_length(topics, scope->path.size, 1);
    return topic;
}

void topics_drop(struct topics *topics, struct topic *topic)
{
    if (!link_is_empty(&topic->watchers) || !link_is_empty(&topic->polls)) return;
    struct topic *first = map_get(&topics->by_hash, topic->hash), **place = &first;
    while (*place != topic) place = &(*place)->next;
    *place = topic->next;
    if (first)
        map_put(&topics->by_hash, topic->hash, first);
    else
        map_remove(&topics->by_hash, topic->hash);
    topics->count--;
    if (topic->prefix) count_length(topics, topic->path.size, -1);
    free(topic);
}

void topics_free(struct topics *topics)
{
    CHECK(topics->count == 0);
    map_free(&topics->by_hash);
}

struct found {
    const struct topics *topics;
    struct arena *arena;
    struct topic **items;
    size_t count, room;
};

static void collect(struct found *found, uint64_t hash, struct slice path, bool prefix)
{
    hash = hash_byte(hash, prefix);
    for (struct topic *topic = map_get(&found->topics->by_hash, hash ? hash : 1); topic;
         topic = topic->next) {
        if (topic->prefix != prefix || !slice_equal(topic->path, path)) continue;
        if (found->count == found->room) {
            size_t room = found->room ? 2 * found->room : 8;
            struct topic **items = arena_alloc(found->arena, room * sizeof(struct topic *));
            if (found->count) memcpy(items, found->items, found->count * sizeof(struct topic *));
            found->items = items;
            found->room = room;
        }
        found->items[found->count++] = topic;
    }
}

struct topic **topics_of(const struct topics *topics, struct slice path, struct arena *arena, size_t *count)
{
    struct found found = {.topics = topics, .arena = arena};
    uint64_t hash = hash_start;
    size_t hashed = 0;
    for (size_t i = 0; i < topics->used_count && topics->used[i] <= path.size; i++) {
        while (hashed < topics->used[i]) hash = hash_byte(hash, path.data[hashed++]);
        collect(&found, hash, slice_of(path.data, hashed), true);
    }
    while (hashed < path.size) hash = hash_byte(hash, path.data[hashed++]);
    collect(&found, hash, path, false);
    *count = found.count;
    return found.items;
}

bool topic_wants(const struct topic *topic, const char *type)
{
    for (size_t i = 0; i < topic->type_count; i++)
        if (slice_is(topic->types[i], type)) return true;
    return !topic->type_count;
}
