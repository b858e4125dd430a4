#include "coord/primitive/object.h"

#include "base/check.h"
#include "coord/primitive/lease.h"

/* --- what hangs on leases --- */

struct slice object_what(struct apply *apply, struct slice name, char kind, struct slice rest)
{
    struct key key;
    key.size = 0;
    key_name(&key, name);
    key_byte(&key, (uint8_t)kind);
    key_bytes(&key, rest);
    return arena_copy(apply->arena, key_slice(&key));
}

bool object_parse_what(struct slice what, struct slice *name, char *kind, struct slice *rest)
{
    const uint8_t *zero = what.size ? memchr(what.data, 0, what.size) : NULL;
    if (!zero || (size_t)(zero - what.data) + 2 > what.size) return false;
    *name = slice_of(what.data, (size_t)(zero - what.data));
    *kind = (char)zero[1];
    *rest = slice_skip(what, name->size + 2);
    return true;
}

bool object_attached(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice name, char kind,
                     struct slice *rest)
{
    struct key from = key_of(KEY_ATTACHMENT);
    struct slice key, value;
    key_number(&from, lease);
    key_byte(&from, primitive);
    key_bytes(&from, object_what(apply, name, kind, slice_of(NULL, 0)));
    if (!rows_seek(apply->rows, key_slice(&from), &key, &value) || !slice_starts_with(key, key_slice(&from)))
        return false;
    *rest = slice_skip(arena_copy(apply->arena, key), from.size);
    return true;
}

bool object_lease_usable(struct apply *apply, uint64_t lease)
{
    struct lease_row row;
    if (!lease_get(apply, lease, &row))
        apply_answer(apply, lease_missing(apply, lease), NULL, NULL);
    else if (!lease_is_clients(&row))
        apply_answer(apply, OUTCOME_LEASE_NOT_FOUND, NULL, NULL);
    else
        return true;
    return false;
}

/* --- lists --- */

struct key object_first(enum key_kind kind, struct slice prefix, struct slice cursor)
{
    struct key from = key_of(kind);
    bool paged = cursor.size && slice_compare(cursor, prefix) >= 0;
    key_bytes(&from, paged ? cursor : prefix);
    if (paged) key_byte(&from, 0);
    return from;
}

bool object_next(struct apply *apply, struct key *from, struct slice prefix, struct slice *name)
{
    struct slice key, value;
    uint8_t kind = from->bytes[0];
    if (!rows_seek(apply->rows, key_slice(from), &key, &value) || key.data[0] != kind) return false;
    *name = arena_copy(apply->arena, slice_skip(key, 1));
    *from = key_after(key);
    return slice_starts_with(*name, prefix);
}

/* --- the bound on idle ones --- */

static struct key kept_key(const struct object_kind *kind, uint64_t index, struct slice name)
{
    struct key key = key_of(kind->kept);
    key_number(&key, index);
    key_bytes(&key, name);
    return key;
}

/* Second chance: of the oldest, one in use goes to the back, an idle one goes away. True when one went. */
static bool forget_oldest(struct apply *apply, const struct object_kind *kind)
{
    struct key from = kept_key(kind, 0, slice_of(NULL, 0)), row = key_of(kind->row);
    struct slice key, value;
    CHECK(rows_seek(apply->rows, key_slice(&from), &key, &value) && key.data[0] == kind->kept);
    key = arena_copy(apply->arena, key);
    struct slice name = slice_skip(key, from.size);
    rows_delete(apply->rows, key);
    if (kind->idle(apply, name)) {
        key_bytes(&row, name);
        CHECK(rows_delete(apply->rows, key_slice(&row)));
        return true;
    }
    struct key back = kept_key(kind, apply->index, name);
    rows_put(apply->rows, key_slice(&back), slice_of(NULL, 0));
    return false;
}

void object_forget_surplus(struct apply *apply, const struct object_kind *kind)
{
    struct key counter = key_of(kind->kept);
    uint64_t before = rows_number(apply->rows, key_slice(&counter)), count = before;
    for (int look = 0; look < 4 && count > kind->max; look++) count -= forget_oldest(apply, kind);
    if (count != before) rows_set_number(apply->rows, key_slice(&counter), count);
}

void object_keep(struct apply *apply, const struct object_kind *kind, struct slice name)
{
    struct key key = kept_key(kind, apply->index, name), counter = key_of(kind->kept);
    rows_put(apply->rows, key_slice(&key), slice_of(NULL, 0));
    rows_set_number(apply->rows, key_slice(&counter), rows_number(apply->rows, key_slice(&counter)) + 1);
    object_forget_surplus(apply, kind);
}

void object_check_kept(struct rows *rows, struct arena *arena, const struct object_kind *kind, uint64_t count)
{
    struct key from = kept_key(kind, 0, slice_of(NULL, 0)), counter = key_of(kind->kept), row;
    size_t head = from.size;
    struct slice key, value;
    uint64_t found = 0;
    for (; rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == kind->kept; found++) {
        key = arena_copy(arena, key);
        from = key_after(key);
        row = key_of(kind->row);
        key_bytes(&row, slice_skip(key, head));
        CHECK(rows_get(rows, key_slice(&row), &value));
    }
    CHECK(found == count && count == rows_number(rows, key_slice(&counter)));
}
