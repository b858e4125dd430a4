/* LMDB 0.9, 64 bits: two meta pages, of which the one with the higher transaction counts, and B+ trees of
 * pages.
 *
 * Page   0 number u64   10 flags u16 (1 branch, 2 leaf, 8 meta)   12 lower u16: 16 + 2 x number of nodes
 *       16 offset of each node u16 (branch, leaf)
 * Meta  16 magic u32   20 version u32   24 address u64   32 map size u64   40 free tree   88 main tree   136
 * last page u64 144 transaction u64 Tree   0 page size u32 (in the free tree)   40 root page u64, all ones:
 * empty Node   0 low u16   2 high u16   4 flags u16 (1 value on pages of its own, 2 a tree)   6 key size u16
 * 8 key, then value branch: page = low, high, flags as 48 bits. leaf: value size = low, high as 32 bits */
#include "storage/state_pages.h"

#include "base/memory.h"
#include "storage/disk.h"

enum {
    BRANCH = 1,
    LEAF = 2,
    META = 8,
    PAGE_HEAD = 16,
    NODE_HEAD = 8,
    META_SIZE = 152,
    TREE_SIZE = 48,
    ROOT_IN_TREE = 40,
    DEPTH_MAX = 32,
    TAKEN_MAX = 131072 /* pages by one transaction */
};

struct meta {
    uint32_t page_size;
    uint64_t roots[2], last_page, transaction;
};

struct file {
    int file;
    uint64_t pages;
    uint32_t page_size;
};

static uint64_t number_at(const uint8_t *bytes, size_t size)
{
    uint64_t number = 0;
    memcpy(&number, bytes, size); /* LMDB's files are in the machine's byte order */
    return number;
}

static bool read_meta(int file, uint64_t offset, struct meta *meta)
{
    uint8_t page[META_SIZE];
    if (disk_read(file, offset, page, sizeof page)) return false;
    *meta = (struct meta){
        .page_size = (uint32_t)number_at(page + 40, 4),
        .roots = {number_at(page + 40 + ROOT_IN_TREE, 8), number_at(page + 88 + ROOT_IN_TREE, 8)},
        .last_page = number_at(page + 136, 8),
        .transaction = number_at(page + 144, 8)};
    return number_at(page + 10, 2) == META && number_at(page + 16, 4) == 0xBEEFC0DE &&
           number_at(page + 20, 4) == 1;
}

static bool tree_is_there(const struct file *in, uint64_t root, unsigned depth);

static bool node_is_there(const struct file *in, const uint8_t *page, size_t offset, bool branch,
                          unsigned depth)
{
    if (offset + NODE_HEAD > in->page_size) return false;
    const uint8_t *node = page + offset;
    if (branch) return tree_is_there(in, number_at(node, 6), depth + 1);
    uint64_t size = number_at(node, 4), flags = number_at(node + 4, 2);
    size_t value = offset + NODE_HEAD + (size_t)number_at(node + 6, 2);
    if (flags & 1) {
        uint64_t first = value + 8 <= in->page_size ? number_at(page + value, 8) : UINT64_MAX;
        return first < in->pages &&
               in->pages - first >= (PAGE_HEAD + size + in->page_size - 1) / in->page_size;
    }
    if (value + size > in->page_size) return false;
    return !(flags & 2) ||
           (size == TREE_SIZE && tree_is_there(in, number_at(page + value + ROOT_IN_TREE, 8), depth + 1));
}

static bool page_is_there(const struct file *in, const uint8_t *page, uint64_t number, unsigned depth)
{
    uint64_t flags = number_at(page + 10, 2), lower = number_at(page + 12, 2);
    if (number_at(page, 8) != number || (flags != BRANCH && flags != LEAF)) return false;
    if (lower < PAGE_HEAD || lower > in->page_size) return false;
    for (size_t at = PAGE_HEAD; at + 2 <= lower; at += 2)
        if (!node_is_there(in, page, (size_t)number_at(page + at, 2), flags == BRANCH, depth)) return false;
    return true;
}

static bool tree_is_there(const struct file *in, uint64_t root, unsigned depth)
{
    if (root == UINT64_MAX) return true;
    if (root >= in->pages || depth > DEPTH_MAX) return false;
    uint8_t *page = memory_new(in->page_size);
    bool good = disk_read(in->file, root * in->page_size, page, in->page_size) == 0 &&
                page_is_there(in, page, root, depth);
    free(page);
    return good;
}

enum state_pages state_pages_look(int file)
{
    struct meta metas[2];
    int64_t size = disk_size(file);
    if (size < 0) return STATE_PAGES_UNREADABLE;
    uint32_t page_size = read_meta(file, 0, &metas[0]) ? metas[0].page_size : 0;
    bool good = page_size >= 512 && page_size <= 65536 && (page_size & (page_size - 1)) == 0;
    if (!good || !read_meta(file, page_size, &metas[1]) || metas[1].page_size != page_size)
        return STATE_PAGES_NO_META;
    const struct meta *newest = &metas[metas[1].transaction > metas[0].transaction];
    struct file in = {file, (uint64_t)size / page_size, page_size};
    if (in.pages < 2 || newest->last_page > in.pages + TAKEN_MAX) return STATE_PAGES_CUT;
    if (newest->last_page < in.pages) return STATE_PAGES_WHOLE;
    bool there = tree_is_there(&in, newest->roots[0], 0) && tree_is_there(&in, newest->roots[1], 0);
    return there ? STATE_PAGES_WHOLE : STATE_PAGES_CUT;
}
