// links: daemon
/* A snapshot's chunks on their way to a member: answers may be late, members may begin anew. */
#include "coordd/transfer.h"
#include "tests/unit/cmocka_all.h"

enum { CHUNKS = 10, BEGIN_MS = 50000 };

/* A turn of the leader: which chunks go now. */
static uint64_t turn(struct transfer *transfer, uint64_t now_ms)
{
    uint64_t sent = 0;
    transfer_turn(transfer, now_ms);
    while (transfer_may_send(transfer, CHUNKS)) {
        transfer->sent++;
        sent++;
    }
    return sent;
}

static struct transfer begun(void)
{
    struct transfer transfer = {.node = 7};
    assert_int_equal(turn(&transfer, BEGIN_MS), TRANSFER_WINDOW);
    return transfer;
}

static void what_is_taken_opens_the_window(void **state)
{
    (void)state;
    struct transfer transfer = begun();
    for (uint64_t taken = 1; taken <= CHUNKS; taken++) {
        assert_int_equal(turn(&transfer, BEGIN_MS), 0);
        transfer_wants(&transfer, taken, BEGIN_MS);
        assert_int_equal(turn(&transfer, BEGIN_MS), taken + TRANSFER_WINDOW <= CHUNKS);
    }
    assert_int_equal(transfer.sent, CHUNKS);
}

static void what_is_lost_goes_again(void **state)
{
    (void)state;
    struct transfer transfer = begun();
    transfer_wants(&transfer, 1, BEGIN_MS + 10);
    assert_int_equal(turn(&transfer, BEGIN_MS + 10), 1);
    assert_int_equal(turn(&transfer, BEGIN_MS + 9 + TRANSFER_RETRY_MS), 0);
    assert_int_equal(turn(&transfer, BEGIN_MS + 10 + TRANSFER_RETRY_MS), TRANSFER_WINDOW);
    assert_int_equal(transfer.next, 1);
    assert_int_equal(turn(&transfer, BEGIN_MS + 9 + 2 * TRANSFER_RETRY_MS), 0);
    assert_int_equal(turn(&transfer, BEGIN_MS + 10 + 2 * TRANSFER_RETRY_MS), TRANSFER_WINDOW);
}

static void an_overtaken_answer_changes_nothing(void **state)
{
    (void)state;
    struct transfer transfer = begun();
    transfer_wants(&transfer, 3, BEGIN_MS + 1);
    transfer_wants(&transfer, 2, BEGIN_MS + 2);
    transfer_wants(&transfer, 3, BEGIN_MS + 3);
    assert_int_equal(transfer.next, 3);
    assert_int_equal(transfer.sent, TRANSFER_WINDOW);
}

static void who_wants_the_first_chunk_gets_it_at_once(void **state)
{
    (void)state;
    struct transfer transfer = begun();
    transfer_wants(&transfer, 3, BEGIN_MS + 1);
    transfer_wants(&transfer, 0, BEGIN_MS + 2);
    assert_int_equal(transfer.next, 0);
    assert_int_equal(turn(&transfer, BEGIN_MS + 2), TRANSFER_WINDOW);
    transfer_wants(&transfer, 4, BEGIN_MS + 3);
    transfer_anew(&transfer, BEGIN_MS + 4);
    assert_int_equal(transfer.next, 0);
    assert_int_equal(turn(&transfer, BEGIN_MS + 4), TRANSFER_WINDOW);
}

/* Seed 1293 of the simulator: the member took two chunks, died, and took one anew; then came an answer from
 * before its death. Whatever is sent then it answers at once, in truth: for ever in vain. */
static void who_began_anew_is_believed_after_a_while(void **state)
{
    (void)state;
    struct transfer transfer = begun();
    uint64_t now_ms = BEGIN_MS;
    transfer_wants(&transfer, 1, now_ms);
    transfer_wants(&transfer, 2, now_ms);
    for (int i = 0; transfer.next != 1; i++) {
        assert_in_range(i, 0, 2 * TRANSFER_RETRY_MS);
        if (turn(&transfer, ++now_ms)) transfer_wants(&transfer, 1, ++now_ms);
    }
    assert_int_equal(turn(&transfer, now_ms), TRANSFER_WINDOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_opens_the_window),
        cmocka_unit_test(what_is_lost_goes_again),
        cmocka_unit_test(an_overtaken_answer_changes_nothing),
        cmocka_unit_test(who_wants_the_first_chunk_gets_it_at_once),
        cmocka_unit_test(who_began_anew_is_believed_after_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
