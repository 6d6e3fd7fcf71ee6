/*
 * mdm_event: the two vendors' shapes, each in JSON and XML. Pure.
 */
#include "enroll/worker/mdm_event.h"

#include <ctype.h>
#include <jansson.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include "common/text.h"

/* One object of fields, whichever way it was written. */
struct fields {
	const json_t *json;
	const xmlNode *xml;
};

const char *mdm_what_text(enum mdm_what what)
{
	static const char *const text[] = { [MDM_NOTHING] = "of no concern", [MDM_UNENROLLED] = "unenrolled", [MDM_DELETED] = "deleted",
		[MDM_COMPROMISED] = "compromised" };

	return text[what];
}

/* --- fields --- */

static const xmlNode *child_of(const xmlNode *parent, const char *name, bool *twice)
{
	const xmlNode *found = NULL;

	for (const xmlNode *n = parent->children; n != NULL; n = n->next) {
		if (n->type != XML_ELEMENT_NODE || strcmp((const char *)n->name, name) != 0)
			continue;
		*twice = *twice || found != NULL;
		found = n;
	}
	return found;
}

/* Text that one could write into a line of ours. "" : it is not there, too long, or no text. -1: control characters, or there twice. */
static int take(char *out, size_t size, struct strv text)
{
	out[0] = '\0';
	text = text_trim(text);
	if (!text_is_clean(text))
		return -1;
	return text.n < size ? text_copy(out, size, text) : 0;
}

static int take_xml(const struct fields *f, const char *name, char *out, size_t size)
{
	bool twice = false;
	const xmlNode *n = child_of(f->xml, name, &twice);
	xmlChar *text;
	int rc;

	out[0] = '\0';
	if (twice)
		return -1;
	if (n == NULL)
		return 0;
	text = xmlNodeGetContent(n);
	rc = text != NULL ? take(out, size, strv_from((const char *)text)) : -1;
	xmlFree(text);
	return rc;
}

/* A boolean reads as "true" or "false", a number as nothing. */
static int field(const struct fields *f, const char *name, char *out, size_t size)
{
	const json_t *value;

	if (f->xml != NULL)
		return take_xml(f, name, out, size);
	value = json_object_get(f->json, name);
	if (json_is_boolean(value))
		return take(out, size, json_is_true(value) ? STRV("true") : STRV("false"));
	return take(out, size, json_is_string(value) ? (struct strv){ json_string_value(value), json_string_length(value) } : (struct strv){ "", 0 });
}

static bool inside(const struct fields *f, const char *name, struct fields *out)
{
	bool twice = false;

	*out = (struct fields){ NULL, NULL };
	if (f->xml != NULL)
		out->xml = child_of(f->xml, name, &twice);
	else
		out->json = json_object_get(f->json, name);
	return !twice && (out->xml != NULL || json_is_object(out->json));
}

/* Spaces, dashes and case come and go between versions. */
static bool is_word(const char *text, const char *const *words)
{
	char plain[64];
	size_t n = 0;

	for (; *text != '\0' && n + 1 < sizeof(plain); text++)
		if (isalnum((unsigned char)*text))
			plain[n++] = (char)tolower((unsigned char)*text);
	plain[n] = '\0';
	for (; *words != NULL; words++)
		if (strcmp(plain, *words) == 0)
			return true;
	return false;
}

/* --- Workspace ONE UEM --- */

static void no_such_thing(char *text)
{
	static const char *const nothing[] = { "systembyte", "unknown", "na", "null", "none", "notavailable", NULL };

	if (is_word(text, nothing))
		text[0] = '\0';
}

static int read_workspace_one(const struct fields *f, struct mdm_event *e, const char **why)
{
	static const char *const deleted[] = { "devicedelete", "devicedeleted", "deletedevice", "mdmdevicedeleted", NULL };
	static const char *const unenrolled[] = { "unenrolled", "deviceunenrolled", "mdmunenrolled", "mdmunenrollment", "mdmunenrollmentcomplete", NULL };
	static const char *const yes[] = { "compromised", "true", "yes", NULL };
	static const char *const gone[] = { "unenrolled", "enterprisewiped", NULL };
	char status[64], compromised[64];

	*why = "a field is there twice, or has control characters in it";
	if (field(f, "EventType", e->type, sizeof(e->type)) < 0 || field(f, "EnrollmentStatus", status, sizeof(status)) < 0 ||
	    field(f, "CompromisedStatus", compromised, sizeof(compromised)) < 0 ||
	    field(f, "SerialNumber", e->serial_number, sizeof(e->serial_number)) < 0 || field(f, "Udid", e->udid, sizeof(e->udid)) < 0 ||
	    field(f, "EnrollmentUserName", e->user, sizeof(e->user)) < 0 || field(f, "DeviceFriendlyName", e->device_name, sizeof(e->device_name)) < 0)
		return -1;
	*why = "it has no EventType";
	if (e->type[0] == '\0')
		return -1;
	if (is_word(compromised, yes))
		e->what = MDM_COMPROMISED;
	else if (is_word(e->type, deleted))
		e->what = MDM_DELETED;
	else if (is_word(e->type, unenrolled) || is_word(status, gone))
		e->what = MDM_UNENROLLED;
	return 0;
}

/* --- Jamf Pro --- */

static int read_jamf(const struct fields *f, struct mdm_event *e, const char **why)
{
	static const char *const unenrolled[] = { "mobiledeviceunenrolled", NULL };
	struct fields hook, event;

	*why = "it is not webhook and event";
	if (!inside(f, "webhook", &hook) || !inside(f, "event", &event))
		return -1;
	*why = "a field is there twice, or has control characters in it";
	if (field(&hook, "webhookEvent", e->type, sizeof(e->type)) < 0 || field(&event, "serialNumber", e->serial_number, sizeof(e->serial_number)) < 0 ||
	    field(&event, "udid", e->udid, sizeof(e->udid)) < 0 || field(&event, "username", e->user, sizeof(e->user)) < 0 ||
	    field(&event, "deviceName", e->device_name, sizeof(e->device_name)) < 0)
		return -1;
	*why = "it has no webhookEvent";
	if (e->type[0] == '\0')
		return -1;
	if (is_word(e->type, unenrolled))
		e->what = MDM_UNENROLLED;
	return 0;
}

/* --- both --- */

static int read_fields(enum mdm_vendor vendor, const struct fields *f, struct mdm_event *out, const char **why)
{
	struct mdm_event e = { .what = MDM_NOTHING };

	if ((vendor == MDM_JAMF ? read_jamf(f, &e, why) : read_workspace_one(f, &e, why)) < 0)
		return -1;
	no_such_thing(e.serial_number);
	no_such_thing(e.udid);
	*why = NULL;
	*out = e;
	return 0;
}

static int read_json(enum mdm_vendor vendor, struct strv body, struct mdm_event *out, const char **why)
{
	json_t *root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	struct fields f = { .json = root };
	int rc = -1;

	*why = "it is no JSON object";
	if (json_is_object(root))
		rc = read_fields(vendor, &f, out, why);
	json_decref(root);
	return rc;
}

/* Before the parser sees a byte: what declares or instructs is refused, so there is nothing to expand and nothing to fetch. */
static bool declares(struct strv body)
{
	const char *end = body.p + body.n;

	for (const char *p = body.p; (p = memchr(p, '<', (size_t)(end - p))) != NULL; p++) {
		struct strv rest = { p, (size_t)(end - p) };
		if (text_starts_nocase(rest, STRV("<!")) && !text_starts_nocase(rest, STRV("<!--")) && !text_starts_nocase(rest, STRV("<![CDATA[")))
			return true;
		if (text_starts_nocase(rest, STRV("<?")) && (p != body.p || !text_starts_nocase(rest, STRV("<?xml "))))
			return true;
	}
	return false;
}

static int read_xml(enum mdm_vendor vendor, struct strv body, struct mdm_event *out, const char **why)
{
	const char *wanted = vendor == MDM_JAMF ? "JSSEvent" : "Eventlog";
	struct fields f = { .xml = NULL };
	xmlDoc *doc;
	int rc = -1;

	*why = "it declares a document type or instructs somebody";
	if (memchr(body.p, '\0', body.n) != NULL || declares(body))
		return -1;
	doc = xmlReadMemory(body.p, (int)body.n, NULL, "UTF-8", XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
	*why = "it is no XML of that kind";
	f.xml = doc != NULL && doc->intSubset == NULL && doc->extSubset == NULL ? xmlDocGetRootElement(doc) : NULL;
	if (f.xml != NULL && strcmp((const char *)f.xml->name, wanted) == 0)
		rc = read_fields(vendor, &f, out, why);
	xmlFreeDoc(doc);
	return rc;
}

int mdm_event_read(enum mdm_vendor vendor, bool xml, struct strv body, struct mdm_event *out, const char **why)
{
	*why = "it is empty or too long";
	if (body.n == 0 || body.n > MDM_BODY_MAX)
		return -1;
	return xml ? read_xml(vendor, body, out, why) : read_json(vendor, body, out, why);
}
