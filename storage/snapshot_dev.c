/* throwaway */
#include "storage/snapshot.h"
struct snapshot *snapshot_begin(struct datadir *d, struct state *s, const struct snapshot_place *p, char *e, size_t n){(void)d;(void)s;(void)p;(void)e;(void)n;return 0;}
bool snapshot_step(struct snapshot *s, size_t b){(void)s;(void)b;return 0;}
bool snapshot_complete(const struct snapshot *s){(void)s;return 0;}
bool snapshot_failed(const struct snapshot *s){(void)s;return 0;}
const struct snapshot_place *snapshot_place(const struct snapshot *s){(void)s;return 0;}
uint64_t snapshot_chunks(const struct snapshot *s){(void)s;return 0;}
bool snapshot_chunk(struct snapshot *s, uint64_t n, struct arena *a, struct slice *c){(void)s;(void)n;(void)a;(void)c;return 0;}
void snapshot_end(struct snapshot *s){(void)s;}
struct snapshot_intake *snapshot_intake_begin(struct datadir *d, char *e, size_t n){(void)d;(void)e;(void)n;return 0;}
enum intake_result snapshot_intake_chunk(struct snapshot_intake *i, uint64_t n, struct slice c){(void)i;(void)n;(void)c;return INTAKE_BAD;}
const struct snapshot_place *snapshot_intake_place(const struct snapshot_intake *i){(void)i;return 0;}
void snapshot_intake_end(struct snapshot_intake *i){(void)i;}
int snapshot_switch(struct snapshot_intake *i, struct datadir_contents *c, const struct raft_hard *h){(void)i;(void)c;(void)h;return -1;}
