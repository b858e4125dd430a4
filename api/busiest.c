#include "api/busiest.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/map.h"
#include "base/memory.h"

struct busiest {
    struct map by_hash;
    size_t figures_size, max, count, hand; /* hand: where the last place was looked for */
    uint8_t *figures;
};

struct busiest *busiest_new(size_t figures_size, size_t max)
{
    struct busiest *busiest = memory_new(sizeof *busiest);
    CHECK(figures_size >= sizeof(struct busiest_name) && max);
    *busiest =
        (struct busiest){.figures_size = figures_size, .max = max, .figures = memory_new(max * figures_size)};
    return busiest;
}

void busiest_free(struct busiest *busiest)
{
    map_free(&busiest->by_hash);
    free(busiest->figures);
    free(busiest);
}

static struct busiest_name *at(const struct busiest *busiest, size_t position)
{
    return (struct busiest_name *)(void *)(busiest->figures + position * busiest->figures_size);
}

static struct busiest_name *place(struct busiest *busiest)
{
    if (busiest->count < busiest->max) return at(busiest, busiest->count++);
    for (;; busiest->hand++) {
        struct busiest_name *found = at(busiest, busiest->hand % busiest->max);
        if (found->lately /= 2) continue;
        busiest->hand++;
        map_remove(&busiest->by_hash, found->hash);
        return found;
    }
}

static uint32_t hash_of(struct slice name)
{
    uint32_t hash = crc32c(0, name.data, name.size);
    return hash ? hash : 1;
}

static bool is_named(const struct busiest_name *found, struct slice name)
{
    return slice_equal(name, slice_of(found->name, found->size));
}

void *busiest_find(const struct busiest *busiest, struct slice name)
{
    struct busiest_name *found = map_get(&busiest->by_hash, hash_of(name));
    return found && is_named(found, name) ? found : NULL;
}

void *busiest_use(struct busiest *busiest, struct slice name)
{
    uint32_t hash = hash_of(name);
    struct busiest_name *found = map_get(&busiest->by_hash, hash);
    if (found && !is_named(found, name)) return NULL;
    if (!found) {
        CHECK(name.size <= sizeof found->name);
        found = place(busiest);
        memset(found, 0, busiest->figures_size);
        found->hash = hash;
        found->size = (uint8_t)name.size;
        memcpy(found->name, name.data, name.size);
        map_put(&busiest->by_hash, hash, found);
    }
    found->lately++;
    return found;
}

size_t busiest_known(const struct busiest *busiest)
{
    return busiest->count;
}

static uint64_t weight_of(const uint8_t *figures, size_t position, size_t size)
{
    return ((const struct busiest_name *)(const void *)(figures + position * size))->weight;
}

size_t busiest_shown(const struct busiest *busiest, void *figures, size_t max)
{
    uint8_t *shown = figures;
    size_t size = busiest->figures_size, count = 0;
    for (size_t i = 0; i < busiest->count; i++) {
        uint64_t weight = at(busiest, i)->weight;
        if (count == max && weight_of(shown, max - 1, size) >= weight) continue;
        if (count < max) count++;
        size_t to = count - 1;
        while (to && weight_of(shown, to - 1, size) < weight) to--;
        memmove(shown + (to + 1) * size, shown + to * size, (count - 1 - to) * size);
        memcpy(shown + to * size, at(busiest, i), size);
    }
    return count;
}

void busiest_label(const struct busiest_name *name, const char *label, struct buffer *out)
{
    buffer_printf(out, "{%s=\"", label);
    for (size_t i = 0; i < name->size; i++) {
        uint8_t byte = name->name[i];
        if (byte == '\\' || byte == '"') buffer_add_byte(out, '\\');
        if (byte == '\n')
            buffer_add_text(out, "\\n");
        else
            buffer_add_byte(out, byte);
    }
    buffer_add_byte(out, '"');
}
