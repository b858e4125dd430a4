/* Known bugs of consensus systems, built in on demand to see that the tests find them: cmake
 * -DCOORDD_MUTANT=N. In every other build MUTANT(n) is a constant 0 and nothing of them is left. Most are
 * real bugs of others; shared/facts/raft-checklist.md has their stories. Numbers are never used again. 1-39:
 * lib/raft; 40-59: storage (tests/crash/mutants.sh); from 60 on the node and its leases, for the simulator
 * (tests/sim/mutants.sh).
 *
 *  1 commits entries of older terms by counting
 *  2 a follower acknowledges entries before they are saved
 *  3 a read round's number is used again
 *  4 the configuration changes before an entry of the own term is committed
 *  5 the configuration changes while another change is not committed
 *  6 a follower commits what the leader has committed, matched or not
 *  7 an older append that matches cuts off what came after it
 *  8 votes without comparing the logs
 *  9 votes twice in a term
 * 10 no stickiness: votes and pre-votes although a leader was heard lately
 * 11 learners and observers count towards a quorum
 * 12 a configuration stays in force when its entry is truncated
 * 13 a restart ignores a configuration that is not known to be committed
 * 14 confirms rounds by answers of an older term
 * 15 counts what a peer had in an older term
 * 16 what a peer is known to have moves back
 * 17 a snapshot leaves a log that differs at its index
 * 18 a vote for a leadership transfer ignores that the vote is given away
 * 19 a leader counts its own entries before they are saved
 * 20 a vote is granted before it is saved
 * 21 a candidate asks for votes before its own is saved
 * 22 a leader sends entries of a term that is not saved
 * 23 a new term is not saved
 * 24 a leader counts itself for the entry that removes it
 * 25 a follower keeps its own entry where the leader's differs
 * 26 a leader stays although no quorum answers
 * 27 any answer confirms the newest round
 * 28 a follower acknowledges up to its last entry, matched or not
 * 29 a learner stands for election
 * 30 a snapshot's configuration is not taken over
 * 31 a pre-vote raises the term of those asked
 * 32 an append that was lost is not sent again
 * 33 counts votes of an older term
 * 34 a restart forgets whom it voted for
 * 35 says of entries not saved yet that they need no snapshot
 * 36 a leader is ready before an entry of its own term is committed
 * 37 stands for election at the word of a leader of the past
 * 38 a leader that was removed leads on
 * 39 half of an even number is a quorum
 *
 * 40 term and vote are not written with the entries
 * 41 the log is trimmed beyond what the state has synced
 * 42 count and digest of a received snapshot are not checked
 * 43 the log names a new state before it is flushed
 * 44 a bad record is cut although good ones lie behind it
 * 45 entries are not flushed
 * 46 what is cut of a torn tail stays where it is
 * 47 a log that begins anew goes on with the segments before
 * 48 the old state is removed before the log names the new one
 * 49 the name of a new segment is not flushed
 * 50 segments are removed without a flush in between
 * 51 what the state calls synced is its last commit
 *
 * 60 renewals and reads are answered without a read round
 * 61 leases expire without a round that began after they were due
 * 62 a new leader gives leases less than their full time
 * 63 commands are proposed anew as soon as the leader changes
 * 64 a follower reads before it has applied what the leader said
 * 65 a leader takes what it was sent twice for something new
 * 67 what a lease has left is counted from the last sending of the question
 * 70 a leader takes commands of sessions that are over
 * 72 commands that were sent are said to have changed nothing
 * 73 a leader sends snapshots only once it is in office
 * 74 a refusal is believed in a later term than the one it was given in
 * 75 who does not vote knows for ever the leader it last heard
 * 76 asked twice for a session, a leader opens two
 * 77 the newest that a member said of a snapshot's chunks is not believed while they go again and again
 *
 * 80 the end of a claim is taken from any token
 * 81 a lease ends and its tasks stay claimed
 * 82 the slot of a group is not given back
 * 83 a task that is to be tried again gives back the slot of its group
 * 84 the slot of a key is not given back
 * 85 a unique key stays taken when its task is over
 * 86 a timer that is moved is left where it was
 * 87 a paused queue hands out
 * 88 a task that is being done counts as done for those that need it
 * 89 a claim waits on when its client is gone
 * 90 the time for a claim counts from when the task was made
 * 91 what is over is kept from when the task was made
 * 92 losses are not counted
 * 93 the second of a group that waits goes first
 * 94 a failed task is ready at once
 * 95 a schedule counts from when it fired
 *
 * 100 a shard is given on before its owner has let go of it
 * 101 the acknowledgement of a shard is taken from any token
 * 102 who is suspect loses its shards
 * 103 who fails keeps its shards
 * 104 whose place is taken over keeps its shards
 * 105 a shard's token stays the one of its first owner
 * 106 the guard of a group does not end
 * 107 heartbeats in batches renew nothing
 * 108 heartbeats of an older membership renew the one that took its place
 * 109 the guard fails whom it should keep
 * 110 who leads a group leads on when its lease is over
 * 111 who is suspect does not lead its group any more
 * 112 a broadcast counts the acknowledgements of one member more than once
 * 113 a broadcast that is satisfied still has its timer */
#ifndef COORDD_BASE_MUTANT_H
#define COORDD_BASE_MUTANT_H

#ifndef COORDD_MUTANT
#define COORDD_MUTANT 0
#endif
#define MUTANT(n) (COORDD_MUTANT == (n))

#endif
