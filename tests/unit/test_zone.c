// links: lib
/* Time zones: what rules are read, offsets beside every change, instants of local times. The offsets are
 * those of Python's zoneinfo, one zone of each rule that has changes, in 2027 and 2052. */
#include "coord/record.h"
#include "coord/zone.h"
#include "tests/unit/cmocka_all.h"

enum { HOUR = 3600, DAY = 24 * HOUR };

static const struct {
    const char *name;
    int64_t at_s;
    int offset_s;
} offsets[] = {
    {"Antarctica/Troll", 1806195599, 0},
    {"Antarctica/Troll", 1806195600, 7200},
    {"Antarctica/Troll", 1824944399, 7200},
    {"Antarctica/Troll", 1824944400, 0},
    {"Antarctica/Troll", 2595459599, 0},
    {"Antarctica/Troll", 2595459600, 7200},
    {"Antarctica/Troll", 2613603599, 7200},
    {"Antarctica/Troll", 2613603600, 0},
    {"Asia/Kathmandu", 1800000000, 20700},
    {"Australia/LHI", 1806764399, 39600},
    {"Australia/LHI", 1806764400, 37800},
    {"Australia/LHI", 1822490999, 37800},
    {"Australia/LHI", 1822491000, 39600},
    {"Australia/LHI", 2596028399, 39600},
    {"Australia/LHI", 2596028400, 37800},
    {"Australia/LHI", 2611754999, 37800},
    {"Australia/LHI", 2611755000, 39600},
    {"Pacific/Norfolk", 1806764399, 43200},
    {"Pacific/Norfolk", 1806764400, 39600},
    {"Pacific/Norfolk", 1822489199, 39600},
    {"Pacific/Norfolk", 1822489200, 43200},
    {"Pacific/Norfolk", 2596028399, 43200},
    {"Pacific/Norfolk", 2596028400, 39600},
    {"Pacific/Norfolk", 2611753199, 39600},
    {"Pacific/Norfolk", 2611753200, 43200},
    {"NZ-CHAT", 1806760799, 49500},
    {"NZ-CHAT", 1806760800, 45900},
    {"NZ-CHAT", 1821880799, 45900},
    {"NZ-CHAT", 1821880800, 49500},
    {"NZ-CHAT", 2596024799, 49500},
    {"NZ-CHAT", 2596024800, 45900},
    {"NZ-CHAT", 2611144799, 45900},
    {"NZ-CHAT", 2611144800, 49500},
    {"Etc/GMT-14", 1800000000, 50400},
    {"Atlantic/Azores", 1806195599, -3600},
    {"Atlantic/Azores", 1806195600, 0},
    {"Atlantic/Azores", 1824944399, 0},
    {"Atlantic/Azores", 1824944400, -3600},
    {"Atlantic/Azores", 2595459599, -3600},
    {"Atlantic/Azores", 2595459600, 0},
    {"Atlantic/Azores", 2613603599, 0},
    {"Atlantic/Azores", 2613603600, -3600},
    {"America/Godthab", 1806195599, -7200},
    {"America/Godthab", 1806195600, -3600},
    {"America/Godthab", 1824944399, -3600},
    {"America/Godthab", 1824944400, -7200},
    {"America/Godthab", 2595459599, -7200},
    {"America/Godthab", 2595459600, -3600},
    {"America/Godthab", 2613603599, -3600},
    {"America/Godthab", 2613603600, -7200},
    {"America/Miquelon", 1805000399, -10800},
    {"America/Miquelon", 1805000400, -7200},
    {"America/Miquelon", 1825559999, -7200},
    {"America/Miquelon", 1825560000, -10800},
    {"America/Miquelon", 2593659599, -10800},
    {"America/Miquelon", 2593659600, -7200},
    {"America/Miquelon", 2614219199, -7200},
    {"America/Miquelon", 2614219200, -10800},
    {"America/Santiago", 1806807599, -10800},
    {"America/Santiago", 1806807600, -14400},
    {"America/Santiago", 1820116799, -14400},
    {"America/Santiago", 1820116800, -10800},
    {"America/Santiago", 2596071599, -10800},
    {"America/Santiago", 2596071600, -14400},
    {"America/Santiago", 2609380799, -14400},
    {"America/Santiago", 2609380800, -10800},
    {"Chile/EasterIsland", 1806807599, -18000},
    {"Chile/EasterIsland", 1806807600, -21600},
    {"Chile/EasterIsland", 1820116799, -21600},
    {"Chile/EasterIsland", 1820116800, -18000},
    {"Chile/EasterIsland", 2596071599, -18000},
    {"Chile/EasterIsland", 2596071600, -21600},
    {"Chile/EasterIsland", 2609380799, -21600},
    {"Chile/EasterIsland", 2609380800, -18000},
    {"Pacific/Marquesas", 1800000000, -34200},
    {"Australia/Adelaide", 1806769799, 37800},
    {"Australia/Adelaide", 1806769800, 34200},
    {"Australia/Adelaide", 1822494599, 34200},
    {"Australia/Adelaide", 1822494600, 37800},
    {"Australia/Adelaide", 2596033799, 37800},
    {"Australia/Adelaide", 2596033800, 34200},
    {"Australia/Adelaide", 2611758599, 34200},
    {"Australia/Adelaide", 2611758600, 37800},
    {"Antarctica/Macquarie", 1806767999, 39600},
    {"Antarctica/Macquarie", 1806768000, 36000},
    {"Antarctica/Macquarie", 1822492799, 36000},
    {"Antarctica/Macquarie", 1822492800, 39600},
    {"Antarctica/Macquarie", 2596031999, 39600},
    {"Antarctica/Macquarie", 2596032000, 36000},
    {"Antarctica/Macquarie", 2611756799, 36000},
    {"Antarctica/Macquarie", 2611756800, 39600},
    {"America/Anchorage", 1805021999, -32400},
    {"America/Anchorage", 1805022000, -28800},
    {"America/Anchorage", 1825581599, -28800},
    {"America/Anchorage", 1825581600, -32400},
    {"America/Anchorage", 2593681199, -32400},
    {"America/Anchorage", 2593681200, -28800},
    {"America/Anchorage", 2614240799, -28800},
    {"America/Anchorage", 2614240800, -32400},
    {"America/Glace_Bay", 1805003999, -14400},
    {"America/Glace_Bay", 1805004000, -10800},
    {"America/Glace_Bay", 1825563599, -10800},
    {"America/Glace_Bay", 1825563600, -14400},
    {"America/Glace_Bay", 2593663199, -14400},
    {"America/Glace_Bay", 2593663200, -10800},
    {"America/Glace_Bay", 2614222799, -10800},
    {"America/Glace_Bay", 2614222800, -14400},
    {"Africa/Ceuta", 1806195599, 3600},
    {"Africa/Ceuta", 1806195600, 7200},
    {"Africa/Ceuta", 1824944399, 7200},
    {"Africa/Ceuta", 1824944400, 3600},
    {"Africa/Ceuta", 2595459599, 3600},
    {"Africa/Ceuta", 2595459600, 7200},
    {"Africa/Ceuta", 2613603599, 7200},
    {"Africa/Ceuta", 2613603600, 3600},
    {"America/Havana", 1805000399, -18000},
    {"America/Havana", 1805000400, -14400},
    {"America/Havana", 1825563599, -14400},
    {"America/Havana", 1825563600, -18000},
    {"America/Havana", 2593659599, -18000},
    {"America/Havana", 2593659600, -14400},
    {"America/Havana", 2614222799, -14400},
    {"America/Havana", 2614222800, -18000},
    {"America/Chicago", 1805011199, -21600},
    {"America/Chicago", 1805011200, -18000},
    {"America/Chicago", 1825570799, -18000},
    {"America/Chicago", 1825570800, -21600},
    {"America/Chicago", 2593670399, -21600},
    {"America/Chicago", 2593670400, -18000},
    {"America/Chicago", 2614229999, -18000},
    {"America/Chicago", 2614230000, -21600},
    {"Europe/Chisinau", 1806191999, 7200},
    {"Europe/Chisinau", 1806192000, 10800},
    {"Europe/Chisinau", 1824940799, 10800},
    {"Europe/Chisinau", 1824940800, 7200},
    {"Europe/Chisinau", 2595455999, 7200},
    {"Europe/Chisinau", 2595456000, 10800},
    {"Europe/Chisinau", 2613599999, 10800},
    {"Europe/Chisinau", 2613600000, 7200},
    {"Asia/Beirut", 1806184799, 7200},
    {"Asia/Beirut", 1806184800, 10800},
    {"Asia/Beirut", 1824929999, 10800},
    {"Asia/Beirut", 1824930000, 7200},
    {"Asia/Beirut", 2595448799, 7200},
    {"Asia/Beirut", 2595448800, 10800},
    {"Asia/Beirut", 2613589199, 10800},
    {"Asia/Beirut", 2613589200, 7200},
    {"Asia/Famagusta", 1806195599, 7200},
    {"Asia/Famagusta", 1806195600, 10800},
    {"Asia/Famagusta", 1824944399, 10800},
    {"Asia/Famagusta", 1824944400, 7200},
    {"Asia/Famagusta", 2595459599, 7200},
    {"Asia/Famagusta", 2595459600, 10800},
    {"Asia/Famagusta", 2613603599, 10800},
    {"Asia/Famagusta", 2613603600, 7200},
    {"Africa/Cairo", 1809035999, 7200},
    {"Africa/Cairo", 1809036000, 10800},
    {"Africa/Cairo", 1824757199, 10800},
    {"Africa/Cairo", 1824757200, 7200},
    {"Africa/Cairo", 2597695199, 7200},
    {"Africa/Cairo", 2597695200, 10800},
    {"Africa/Cairo", 2614021199, 10800},
    {"Africa/Cairo", 2614021200, 7200},
    {"America/Detroit", 1805007599, -18000},
    {"America/Detroit", 1805007600, -14400},
    {"America/Detroit", 1825567199, -14400},
    {"America/Detroit", 1825567200, -18000},
    {"America/Detroit", 2593666799, -18000},
    {"America/Detroit", 2593666800, -14400},
    {"America/Detroit", 2614226399, -14400},
    {"America/Detroit", 2614226400, -18000},
    {"Europe/Belfast", 1806195599, 0},
    {"Europe/Belfast", 1806195600, 3600},
    {"Europe/Belfast", 1824944399, 3600},
    {"Europe/Belfast", 1824944400, 0},
    {"Europe/Belfast", 2595459599, 0},
    {"Europe/Belfast", 2595459600, 3600},
    {"Europe/Belfast", 2613603599, 3600},
    {"Europe/Belfast", 2613603600, 0},
    {"America/Adak", 1805025599, -36000},
    {"America/Adak", 1805025600, -32400},
    {"America/Adak", 1825585199, -32400},
    {"America/Adak", 1825585200, -36000},
    {"America/Adak", 2593684799, -36000},
    {"America/Adak", 2593684800, -32400},
    {"America/Adak", 2614244399, -32400},
    {"America/Adak", 2614244400, -36000},
    {"Eire", 1806195599, 0},
    {"Eire", 1806195600, 3600},
    {"Eire", 1824944399, 3600},
    {"Eire", 1824944400, 0},
    {"Eire", 2595459599, 0},
    {"Eire", 2595459600, 3600},
    {"Eire", 2613603599, 3600},
    {"Eire", 2613603600, 0},
    {"Asia/Jerusalem", 1806019199, 7200},
    {"Asia/Jerusalem", 1806019200, 10800},
    {"Asia/Jerusalem", 1824937199, 10800},
    {"Asia/Jerusalem", 1824937200, 7200},
    {"Asia/Jerusalem", 2595283199, 7200},
    {"Asia/Jerusalem", 2595283200, 10800},
    {"Asia/Jerusalem", 2613596399, 10800},
    {"Asia/Jerusalem", 2613596400, 7200},
    {"MET", 1806195599, 3600},
    {"MET", 1806195600, 7200},
    {"MET", 1824944399, 7200},
    {"MET", 1824944400, 3600},
    {"MET", 2595459599, 3600},
    {"MET", 2595459600, 7200},
    {"MET", 2613603599, 7200},
    {"MET", 2613603600, 3600},
    {"America/Creston", 1800000000, -25200},
    {"America/Boise", 1805014799, -25200},
    {"America/Boise", 1805014800, -21600},
    {"America/Boise", 1825574399, -21600},
    {"America/Boise", 1825574400, -25200},
    {"America/Boise", 2593673999, -25200},
    {"America/Boise", 2593674000, -21600},
    {"America/Boise", 2614233599, -21600},
    {"America/Boise", 2614233600, -25200},
    {"America/St_Johns", 1805002199, -12600},
    {"America/St_Johns", 1805002200, -9000},
    {"America/St_Johns", 1825561799, -9000},
    {"America/St_Johns", 1825561800, -12600},
    {"America/St_Johns", 2593661399, -12600},
    {"America/St_Johns", 2593661400, -9000},
    {"America/St_Johns", 2614220999, -9000},
    {"America/St_Johns", 2614221000, -12600},
    {"Antarctica/McMurdo", 1806760799, 46800},
    {"Antarctica/McMurdo", 1806760800, 43200},
    {"Antarctica/McMurdo", 1821880799, 43200},
    {"Antarctica/McMurdo", 1821880800, 46800},
    {"Antarctica/McMurdo", 2596024799, 46800},
    {"Antarctica/McMurdo", 2596024800, 43200},
    {"Antarctica/McMurdo", 2611144799, 43200},
    {"Antarctica/McMurdo", 2611144800, 46800},
    {"America/Ensenada", 1805018399, -28800},
    {"America/Ensenada", 1805018400, -25200},
    {"America/Ensenada", 1825577999, -25200},
    {"America/Ensenada", 1825578000, -28800},
    {"America/Ensenada", 2593677599, -28800},
    {"America/Ensenada", 2593677600, -25200},
    {"America/Ensenada", 2614237199, -25200},
    {"America/Ensenada", 2614237200, -28800},
    {"UTC", 1800000000, 0},
    {"Atlantic/Canary", 1806195599, 0},
    {"Atlantic/Canary", 1806195600, 3600},
    {"Atlantic/Canary", 1824944399, 3600},
    {"Atlantic/Canary", 1824944400, 0},
    {"Atlantic/Canary", 2595459599, 0},
    {"Atlantic/Canary", 2595459600, 3600},
    {"Atlantic/Canary", 2613603599, 3600},
    {"Atlantic/Canary", 2613603600, 0},
};

static struct zone zone_named(const char *name)
{
    struct zone zone;
    struct slice rule;
    if (zone_by_name(slice_text(name), &rule) != ZONE_KNOWN) fail_msg("%s is unknown", name);
    assert_true(zone_parse(rule, &zone));
    return zone;
}

static struct zone rule_of(const char *text)
{
    struct zone zone;
    if (!zone_parse(slice_text(text), &zone)) fail_msg("%s is refused", text);
    return zone;
}

static void has_the_offsets_of_zoneinfo(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct zone zone = zone_named(offsets[i].name);
        int64_t offset = zone_offset(&zone, offsets[i].at_s);
        if (offset != offsets[i].offset_s)
            fail_msg("%s at %lld: %lld, not %d", offsets[i].name, (long long)offsets[i].at_s,
                     (long long)offset, offsets[i].offset_s);
    }
}

/* Each row before a change is followed by the row of the change itself. */
static void finds_the_next_change(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < sizeof offsets / sizeof *offsets; i++) {
        if (offsets[i].at_s + 1 != offsets[i + 1].at_s) continue;
        struct zone zone = zone_named(offsets[i].name);
        assert_int_equal(zone_next_change(&zone, offsets[i].at_s), offsets[i + 1].at_s);
        assert_int_equal(zone_next_change(&zone, offsets[i].at_s - 100 * HOUR), offsets[i + 1].at_s);
        assert_true(zone_next_change(&zone, offsets[i + 1].at_s) > offsets[i + 1].at_s);
    }
    struct zone utc = zone_named("UTC");
    assert_true(zone_next_change(&utc, 0) == INT64_MAX);
}

/* A local time is shown at its instant and at none before; a time that is jumped over gives the jump's end.
 */
static void finds_instants(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < sizeof offsets / sizeof *offsets; i++) {
        if (offsets[i].at_s + 1 != offsets[i + 1].at_s) continue;
        struct zone zone = zone_named(offsets[i].name);
        int64_t change = offsets[i + 1].at_s, before = offsets[i].offset_s, after = offsets[i + 1].offset_s;
        int64_t jump = after - before, low = jump > 0 ? 0 : jump, high = jump > 0 ? jump : 0;
        for (int64_t s = low; s < high; s += 300) {
            int64_t expected = jump > 0 ? change : change + s;
            assert_int_equal(zone_instant(&zone, change + before + s), expected);
        }
        assert_int_equal(zone_instant(&zone, change + before + low - 1), change + low - 1);
        assert_int_equal(zone_instant(&zone, change + before + high), jump > 0 ? change : change - jump);
    }
    struct zone fixed = rule_of("<+0530>-5:30");
    assert_int_equal(zone_instant(&fixed, 5 * HOUR + 1800), 0);
}

static void reads_rules(void **state)
{
    (void)state;
    struct zone zone = rule_of("EST+5EDT,M3.2.0/2:00:00,M11.1.0");
    assert_int_equal(zone.offset_s, -5 * HOUR);
    assert_int_equal(zone.summer_s, -4 * HOUR);
    assert_int_equal(zone.begins.kind, 'M');
    assert_int_equal(zone.begins.time_s, 2 * HOUR);
    zone = rule_of("<-0330>3:30:15<+0001>-0:01,J60/-3,300/+26:30");
    assert_int_equal(zone.offset_s, -(3 * HOUR + 30 * 60 + 15));
    assert_int_equal(zone.summer_s, 60);
    assert_int_equal(zone.begins.time_s, -3 * HOUR);
    assert_int_equal(zone.ends.time_s, 26 * HOUR + 1800);
    assert_int_equal(zone.ends.day, 300);
    assert_int_equal(rule_of("ABC24").offset_s, -DAY);
}

/* J60 is the 1st of March always; 59 is it but for leap years. */
static void knows_days_of_the_year(void **state)
{
    (void)state;
    struct zone julian = rule_of("AAA0BBB,J60/0,J300/0"), counted = rule_of("AAA0BBB,59/0,300/0");
    assert_int_equal(zone_next_change(&julian, date_days(2027, 1, 20) * DAY), date_days(2027, 3, 1) * DAY);
    assert_int_equal(zone_next_change(&julian, date_days(2028, 1, 20) * DAY), date_days(2028, 3, 1) * DAY);
    assert_int_equal(zone_next_change(&counted, date_days(2027, 1, 20) * DAY), date_days(2027, 3, 1) * DAY);
    assert_int_equal(zone_next_change(&counted, date_days(2028, 1, 20) * DAY), date_days(2028, 2, 29) * DAY);
    struct zone early = rule_of("AAA0BBB,J365/167,J180/0");
    int64_t begins = date_days(2027, 12, 31) * DAY + 167 * HOUR;
    assert_int_equal(zone_offset(&early, begins - 1), 0);
    assert_int_equal(zone_offset(&early, begins), HOUR);
    assert_int_equal(zone_offset(&early, date_days(2028, 1, 3) * DAY), 0);
    assert_int_equal(zone_next_change(&early, date_days(2028, 1, 3) * DAY), begins);
    struct zone before = rule_of("AAA0BBB,J1/-100,J180/0");
    begins = date_days(2028, 1, 1) * DAY - 100 * HOUR;
    assert_int_equal(zone_offset(&before, begins - 1), 0);
    assert_int_equal(zone_offset(&before, begins), HOUR);
}

static void refuses_rules(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "UTC",
        "EU1",
        "CET",
        "CET-25",
        "CET-1:60",
        "CET-1:00:60",
        "<+01-1",
        "+01-1",
        "CET-1 ",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M3.5.0,M10.5.0,",
        "CET-1CEST,M0.5.0,M10.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.0.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J300",
        "CET-1CEST,J366,J100",
        "CET-1CEST,366,100",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0/,M10.5.0",
        "CET-1CEST,M3.5.0,M3.5.0",
        "CET-1CEST,M3.4.0,M3.5.0/1",
        "CET-1CEST,J1,J360",
        "EST5EDT4,0/0,J365/25",
        "CET-1CE9,M3.5.0,M10.5.0",
        "AAA-24BBB24,M3.5.0,M10.5.0",
        "Europe/Berlin",
        "CET--1",
        "CET-",
        "AAAAAAAAAAAAAAAAA1",
        "\x01\x02\x03",
    };
    struct zone zone;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (zone_parse(slice_text(bad[i]), &zone)) fail_msg("\"%s\" is taken", bad[i]);
}

static void knows_names(void **state)
{
    (void)state;
    struct slice rule;
    static const char *const unknown[] = {"",
                                          " ",
                                          "Europe",
                                          "Berlin",
                                          "europe/berlin",
                                          "Europe/Berlin ",
                                          "Europe/Berlin Europe/Busingen",
                                          "Mars/Olympus",
                                          "localtime"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(zone_by_name(slice_text(unknown[i]), &rule), ZONE_UNKNOWN);
    assert_int_equal(zone_by_name(SLICE("Africa/Casablanca"), &rule), ZONE_IRREGULAR);
    assert_int_equal(zone_by_name(SLICE("Europe/Berlin"), &rule), ZONE_KNOWN);
    assert_true(slice_is(rule, "CET-1CEST,M3.5.0,M10.5.0/3"));
    char longest[ZONE_TEXT_MAX + 1];
    memset(longest, 'a', sizeof longest);
    assert_int_equal(zone_by_name(slice_of(longest, ZONE_TEXT_MAX), &rule), ZONE_UNKNOWN);
    assert_int_equal(zone_by_name(slice_of(longest, ZONE_TEXT_MAX + 1), &rule), ZONE_UNKNOWN);
    for (const struct zone_table_row *row = zone_table; row->rule; row++) {
        struct zone zone;
        assert_true(!row->rule[0] || zone_parse(slice_text(row->rule), &zone));
        assert_true(row->names[0] == ' ' && row->names[strlen(row->names) - 1] == ' ');
    }
}

static void reckons_dates(void **state)
{
    (void)state;
    assert_int_equal(date_days(1970, 1, 1), 0);
    assert_int_equal(date_days(2000, 2, 29), 11016);
    assert_int_equal(date_days(1, 1, 1), -719162);
    assert_int_equal(date_weekday(0), 4);
    assert_int_equal(date_weekday(-5), 6);
    assert_int_equal(date_month_size(2100, 2), 28);
    assert_int_equal(date_month_size(2000, 2), 29);
    int64_t year, last_year = -5;
    unsigned month, day, last_month = 12, last_day = 31;
    for (int64_t days = date_days(-4, 1, 1); days < date_days(2405, 1, 1); days++) {
        date_of(days, &year, &month, &day);
        bool new_month = last_day == date_month_size(last_year, last_month);
        assert_int_equal(day, new_month ? 1 : last_day + 1);
        assert_int_equal(month, new_month ? last_month % 12 + 1 : last_month);
        assert_int_equal(year, last_year + (new_month && month == 1));
        assert_int_equal(date_days(year, month, day), days);
        last_year = year;
        last_month = month;
        last_day = day;
    }
}

/* --- the type of field --- */

struct place {
    struct slice zone, cron;
};
static const struct field fields[] = {
    {.number = 1, .type = FIELD_ZONE, .offset = offsetof(struct place, zone), .name = "time_zone"},
    {.number = 2,
     .type = FIELD_CRON,
     .offset = offsetof(struct place, cron),
     .name = "cron",
     .flags = FIELD_NULL},
};
static const struct record record = RECORD("place", place, fields);

static void is_a_type_of_field(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct place place = {0}, back;
    struct setting setting = {.record = &record, .data = &place, .arena = &arena};
    struct buffer out = {0};
    record_json(&record, &place, &(struct json){&out, false});
    assert_true(slice_is(buffer_slice(&out), "{\"time_zone\":\"UTC\",\"cron\":null}"));
    assert_true(setting_text(&setting, &fields[0], SLICE("Europe/Berlin")));
    assert_true(setting_text(&setting, &fields[1], SLICE("@daily")));
    assert_true(slice_is(place.zone, "Europe/Berlin CET-1CEST,M3.5.0,M10.5.0/3"));
    assert_true(slice_is(zone_rule(place.zone), "CET-1CEST,M3.5.0,M10.5.0/3"));
    assert_true(slice_is(zone_rule(SLICE("")), "UTC0"));
    out.size = 0;
    record_encode(&record, &place, &out);
    assert_true(record_decode(&record, &back, buffer_slice(&out), &arena));
    struct buffer json = {0};
    record_json(&record, &back, &(struct json){&json, false});
    assert_true(slice_is(buffer_slice(&json), "{\"time_zone\":\"Europe/Berlin\",\"cron\":\"@daily\"}"));
    assert_false(setting_text(&setting, &fields[0], SLICE("UTC")));
    assert_true(slice_is(setting.complaint, "time_zone is given twice"));
    setting.given = 0;
    assert_true(setting_text(&setting, &fields[0], SLICE("<+01>-1")));
    assert_true(slice_is(place.zone, "<+01>-1") && slice_is(zone_shown(place.zone), "<+01>-1"));
    struct zone zone;
    assert_true(zone_of(place.zone, &zone) && zone.offset_s == HOUR);
    assert_true(zone_of(back.zone, &zone) && zone.changes);
    assert_false(zone_of(SLICE("Europe/Berlin nonsense"), &zone));
    buffer_free(&json);
    buffer_free(&out);
    arena_free(&arena);
}

static void names_the_field_that_it_refuses(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct place place = {0};
    static const struct {
        const char *zone, *cron, *complaint;
    } bad[] = {
        {"Mars/Olympus", NULL, "time_zone must be a time zone: "},
        {"", NULL, "time_zone must be a time zone: "},
        {"a\nb", NULL, "time_zone must be UTF-8"},
        {"Asia/Gaza", NULL, "time_zone names a place whose clock follows no yearly rule"},
        {NULL, "61 * * * *", "cron: minutes must be 0 to 59"},
        {NULL, "", "cron: must have 5 fields"},
        {NULL, "*\t* * * *", "cron must be UTF-8 without control characters"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct setting setting = {.record = &record, .data = &place, .arena = &arena};
        const char *text = bad[i].zone ? bad[i].zone : bad[i].cron;
        assert_false(setting_text(&setting, &fields[bad[i].zone ? 0 : 1], slice_text(text)));
        if (!slice_starts_with(setting.complaint, slice_text(bad[i].complaint)))
            fail_msg("%s: %.*s", text, SLICE_ARGS(setting.complaint));
        assert_false(setting_uint(&setting, &fields[0], 1));
        assert_false(setting_bytes(&setting, &fields[1], SLICE("x")));
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_offsets_of_zoneinfo),
        cmocka_unit_test(finds_the_next_change),
        cmocka_unit_test(finds_instants),
        cmocka_unit_test(reads_rules),
        cmocka_unit_test(knows_days_of_the_year),
        cmocka_unit_test(refuses_rules),
        cmocka_unit_test(knows_names),
        cmocka_unit_test(reckons_dates),
        cmocka_unit_test(is_a_type_of_field),
        cmocka_unit_test(names_the_field_that_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
