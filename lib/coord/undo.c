#include "coord/undo.h"

#include "base/check.h"

/* Lies behind the key and the value, so that the notes can be read from the newest to the oldest. */
struct note {
    uint32_t key_size, value_size;
    uint64_t present;
};

void undo_note(struct undo *undo, struct slice key, const struct slice *value)
{
    if (!undo->on) return;
    struct note note = {(uint32_t)key.size, value ? (uint32_t)value->size : 0, value != NULL};
    buffer_add_slice(&undo->notes, key);
    if (value) buffer_add_slice(&undo->notes, *value);
    buffer_add(&undo->notes, &note, sizeof note);
}

void undo_start(struct undo *undo)
{
    CHECK(!undo->on);
    undo->on = true;
    undo->notes.size = 0;
}

void undo_finish(struct undo *undo, struct rows *rows, bool keep)
{
    CHECK(undo->on);
    undo->on = false;
    for (size_t end = undo->notes.size; end && !keep;) {
        struct note note;
        end -= sizeof note;
        memcpy(&note, undo->notes.data + end, sizeof note);
        end -= note.value_size;
        struct slice value = slice_of(undo->notes.data + end, note.value_size);
        end -= note.key_size;
        struct slice key = slice_of(undo->notes.data + end, note.key_size);
        if (note.present)
            rows_put(rows, key, value);
        else
            rows_delete(rows, key);
    }
    undo->notes.size = 0;
}

void undo_free(struct undo *undo)
{
    buffer_free(&undo->notes);
}
