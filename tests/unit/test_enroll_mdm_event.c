/*
 * mdm_event: the shapes that Workspace ONE UEM and Jamf Pro send, in JSON and XML, which of them concern us, and the hostile ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/text.h"
#include "enroll/worker/mdm_event.h"

#define WS1(more) "{\"EventId\": 148, \"EventType\": \"MDM Enrollment Complete\", \"DeviceId\": 7, \"EventTime\": \"/Date(1795400000000)/\"" more "}"
#define JAMF(event, more)                                                                                                             \
	"{\"webhook\": {\"id\": 1, \"name\": \"easgate\", \"webhookEvent\": \"" event "\", \"eventTimestamp\": 1795400000000}, \"event\": {" \
	"\"udid\": \"ca44c88e\", \"deviceName\": \"Anna's iPhone\", \"serialNumber\": \"F2LABC\", \"username\": \"anna\", \"jssID\": 3" more "}}"
#define LOG(more) "<?xml version=\"1.0\" encoding=\"utf-8\"?><Eventlog><EventId>178</EventId>" more "</Eventlog>"
#define JSS(event) "<JSSEvent><webhook><webhookEvent>" event "</webhookEvent></webhook><event><serialNumber>F2LABC</serialNumber><udid>ca44</udid></event></JSSEvent>"

static const struct row {
	enum mdm_vendor vendor;
	bool xml;
	const char *body;
	int what;		/* -1: refused */
	const char *serial_number, *udid, *user, *device_name;
} rows[] = {
	{ MDM_WORKSPACE_ONE, false, WS1(""), MDM_NOTHING, "", "", "", "" },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"EnrollmentStatus\": \"Enrolled\", \"CompromisedStatus\": \"Not Compromised\", \"SerialNumber\": \"F2L1\""),
	    MDM_NOTHING, "F2L1", "", "", "" },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"EnrollmentStatus\": \"Unenrolled\", \"SerialNumber\": \" F2L1 \", \"Udid\": \"System.Byte[]\", "
	    "\"EnrollmentUserName\": \"anna\", \"DeviceFriendlyName\": \"Anna's iPhone\""), MDM_UNENROLLED, "F2L1", "", "anna", "Anna's iPhone" },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"CompromisedStatus\": true, \"Udid\": \"CA44\""), MDM_COMPROMISED, "", "CA44", "", "" },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"CompromisedStatus\": \"Compromised\", \"EnrollmentStatus\": \"Unenrolled\""), MDM_COMPROMISED, "", "", "", "" },
	{ MDM_WORKSPACE_ONE, false, "{\"EventType\": \"DeviceDelete\", \"SerialNumber\": \"N/A\"}", MDM_DELETED, "", "", "", "" },
	{ MDM_WORKSPACE_ONE, false, "{\"EventType\": \"Delete Device\", \"SerialNumber\": 5}", MDM_DELETED, "", "", "", "" },
	{ MDM_WORKSPACE_ONE, true, LOG("<EventType>Compromised Status Changed</EventType><CompromisedStatus>True</CompromisedStatus>"
	    "<SerialNumber>F2L1</SerialNumber>"), MDM_COMPROMISED, "F2L1", "", "", "" },
	{ MDM_WORKSPACE_ONE, true, LOG("<EventType>CompromisedStatusChanged</EventType><CompromisedStatus>False</CompromisedStatus>"), MDM_NOTHING, "", "", "", "" },
	{ MDM_JAMF, false, JAMF("MobileDeviceUnEnrolled", ""), MDM_UNENROLLED, "F2LABC", "ca44c88e", "anna", "Anna's iPhone" },
	{ MDM_JAMF, false, JAMF("MobileDeviceCheckIn", ""), MDM_NOTHING, "F2LABC", "ca44c88e", "anna", "Anna's iPhone" },
	{ MDM_JAMF, true, JSS("MobileDeviceUnEnrolled"), MDM_UNENROLLED, "F2LABC", "ca44", "", "" },
	/* refused */
	{ MDM_WORKSPACE_ONE, false, "", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, "[]", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, "{}", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, "{\"EventType\": \"a\", \"EventType\": \"b\"}", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"SerialNumber\": \"a\\nb\""), -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, WS1(", \"SerialNumber\": \"a\\u202eb\""), -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, false, WS1("") "x", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, "<Eventlog/>", -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, JSS("MobileDeviceUnEnrolled"), -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, LOG("<EventType>a</EventType><EventType>b</EventType>"), -1, NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, "<!DOCTYPE Eventlog [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><Eventlog><EventType>&a;</EventType></Eventlog>", -1,
	    NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, "<?xml version=\"1.0\"?><?xml-stylesheet href=\"http://127.0.0.1/\"?><Eventlog><EventType>a</EventType></Eventlog>", -1,
	    NULL, NULL, NULL, NULL },
	{ MDM_WORKSPACE_ONE, true, "<Eventlog><EventType>&undefined;</EventType></Eventlog>", -1, NULL, NULL, NULL, NULL },
	{ MDM_JAMF, false, "{\"webhook\": [], \"event\": {}}", -1, NULL, NULL, NULL, NULL },
	{ MDM_JAMF, false, "{\"webhook\": {\"webhookEvent\": \"MobileDeviceUnEnrolled\"}}", -1, NULL, NULL, NULL, NULL },
	{ MDM_JAMF, true, "<JSSEvent><webhook/><webhook/><event/></JSSEvent>", -1, NULL, NULL, NULL, NULL },
};

static void each_shape_is_read_and_each_hostile_one_refused_with_its_reason(void **state)
{
	struct mdm_event e;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		int rc = mdm_event_read(r->vendor, r->xml, strv_from(r->body), &e, &why);

		if (rc != (r->what < 0 ? -1 : 0) || (rc == 0 && (int)e.what != r->what))
			fail_msg("row %zu: %s: %d, %s", i, r->body, rc, rc < 0 ? why : mdm_what_text(e.what));
		if (rc < 0) {
			assert_non_null(why);
			continue;
		}
		assert_string_equal(e.serial_number, r->serial_number);
		assert_string_equal(e.udid, r->udid);
		assert_string_equal(e.user, r->user);
		assert_string_equal(e.device_name, r->device_name);
	}
}

static void what_is_too_long_or_too_deep_is_refused_or_left_out(void **state)
{
	static char body[MDM_BODY_MAX + 200];
	struct mdm_event e;
	const char *why;
	size_t n;

	(void)state;
	n = (size_t)snprintf(body, sizeof(body), "{\"EventType\": \"Delete Device\", \"DeviceFriendlyName\": \"");
	memset(body + n, 'x', 1000);
	memcpy(body + n + 1000, "\"}", 3);
	assert_int_equal(mdm_event_read(MDM_WORKSPACE_ONE, false, strv_from(body), &e, &why), 0);
	assert_string_equal(e.device_name, "");
	assert_int_equal(e.what, MDM_DELETED);
	memset(body, ' ', sizeof(body) - 1);
	memcpy(body, "{\"EventType\": \"Delete Device\"}", 30);
	assert_int_equal(mdm_event_read(MDM_WORKSPACE_ONE, false, (struct strv){ body, MDM_BODY_MAX }, &e, &why), 0);
	assert_int_equal(mdm_event_read(MDM_WORKSPACE_ONE, false, (struct strv){ body, MDM_BODY_MAX + 1 }, &e, &why), -1);
	memset(body, '[', MDM_BODY_MAX);
	assert_int_equal(mdm_event_read(MDM_WORKSPACE_ONE, false, (struct strv){ body, MDM_BODY_MAX }, &e, &why), -1);
	for (n = 0; n + 3 <= MDM_BODY_MAX; n += 3)
		memcpy(body + n, "<a>", 3);
	assert_int_equal(mdm_event_read(MDM_WORKSPACE_ONE, true, (struct strv){ body, n }, &e, &why), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_shape_is_read_and_each_hostile_one_refused_with_its_reason),
		cmocka_unit_test(what_is_too_long_or_too_deep_is_refused_or_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
