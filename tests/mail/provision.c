/*
 * provision: the two phases of Provision, policy and acknowledgement ([MS-ASPROV] 3.1.5.1).
 * The policy asks nothing of the device; what matters is that the exchange is a real one.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SPACE "Provision:"
#define TYPE_WBXML "MS-EAS-Provisioning-WBXML"  /* 12.0 and later */
#define TYPE_XML "MS-WAP-Provisioning-XML"      /* 2.5 */

/* [MS-ASPROV] 2.2.2.54 */
enum { POLICY_OK = 1, POLICY_BAD_TYPE = 3, POLICY_BAD_KEY = 5 };
enum { PROVISION_OK = 1, PROVISION_MALFORMED = 2, PROVISION_SERVER_ERROR = 3 };

static const struct { const char *name, *value; } policy[] = {
	{ "DevicePasswordEnabled", "0" },
	{ "AlphanumericDevicePasswordRequired", "0" },
	{ "PasswordRecoveryEnabled", "0" },
	{ "RequireStorageCardEncryption", "0" },
	{ "AttachmentsEnabled", "1" },
	{ "MinDevicePasswordLength", "" },
	{ "MaxInactivityTimeDeviceLock", "" },
	{ "MaxDevicePasswordFailedAttempts", "" },
	{ "MaxAttachmentSize", "" },
	{ "AllowSimpleDevicePassword", "1" },
	{ "DevicePasswordExpiration", "" },
	{ "DevicePasswordHistory", "0" },
};

/* A key that no device has had before; never 0, which means none. */
static bool new_key(uint32_t *out)
{
	do {
		if (getrandom(out, sizeof(*out), 0) != (ssize_t)sizeof(*out))
			return false;
		*out &= 0x7fffffff;     /* some clients read it as signed */
	} while (*out == 0);
	return true;
}

static void write_policy(struct xml_out *o, bool xml)
{
	xml_open(o, "Data", NULL);
	if (xml) {
		xmlTextWriterWriteString(o->writer, (const xmlChar *)"<wap-provisioningdoc>"
		    "<characteristic type=\"SecurityPolicy\"><parm name=\"4131\" value=\"1\"/>"
		    "</characteristic></wap-provisioningdoc>");
	} else {
		xml_open(o, "EASProvisionDoc", NULL);
		for (size_t i = 0; i < sizeof(policy) / sizeof(policy[0]); i++)
			xml_leaf(o, policy[i].name, NULL, policy[i].value);
		xml_close(o);
	}
	xml_close(o);
}

/*
 * One Policy of the request. Without a key it asks for the policy; with one it acknowledges.
 * Writes its answer. Returns false if no key could be made.
 */
static bool answer_policy(struct call *c, const xmlNode *node)
{
	const char *want = c->query.version < 120 ? TYPE_XML : TYPE_WBXML;
	uint32_t status = POLICY_OK, key = 0, given = 0, applied = 0, fresh;
	bool acknowledges = xml_child(node, "PolicyKey") != NULL;
	struct device *d = c->device;
	char type[EAS_TEXT_MAX + 1] = "";

	if (!new_key(&fresh))
		return false;
	xml_text(node, "PolicyType", type, sizeof(type));
	if (strcmp(type, want) != 0) {
		status = POLICY_BAD_TYPE;
	} else if (!acknowledges) {
		key = d->offered_key = fresh;
	} else if (xml_number(node, "PolicyKey", UINT32_MAX, &given) && d->offered_key != 0 &&
	    given == d->offered_key && xml_number(node, "Status", 4, &applied) &&
	    (applied == 1 || applied == 2)) {
		key = d->policy_key = fresh;
		d->offered_key = 0;
	} else {
		status = POLICY_BAD_KEY;
	}
	xml_open(&c->out, "Policy", NULL);
	xml_leaf(&c->out, "PolicyType", NULL, want);
	xml_leaf_number(&c->out, "Status", NULL, status);
	if (key != 0)
		xml_leaf_number(&c->out, "PolicyKey", NULL, key);
	if (key != 0 && !acknowledges)
		write_policy(&c->out, c->query.version < 120);
	xml_close(&c->out);
	return true;
}

int command_provision(struct call *c)
{
	const xmlNode *root = command_root(c, "Provision");
	const xmlNode *node = xml_child(xml_child(root, "Policies"), "Policy");
	struct xml_out *o = &c->out;

	if (node == NULL)
		return command_status(c, "Provision", SPACE, PROVISION_MALFORMED);
	xml_out_begin(o, "Provision", SPACE);
	if (xml_child(root, "DeviceInformation") != NULL) {
		xml_open(o, "DeviceInformation", "Settings:");
		xml_leaf_number(o, "Status", NULL, 1);
		xml_close(o);
	}
	xml_leaf_number(o, "Status", NULL, PROVISION_OK);
	xml_open(o, "Policies", NULL);
	if (!answer_policy(c, node))
		return command_status(c, "Provision", SPACE, PROVISION_SERVER_ERROR);
	xml_close(o);
	return 200;
}
