/*
 * settings_devices: what a policy says of devices: binding, quarantine, limit, lists. Opens no file.
 */
#include <stdio.h>

#include "common/device.h"
#include "proxy/settings_parts.h"

static int check_patterns(char *const *list, unsigned n, const char *key, const struct config_place *at)
{
	if (n > PATTERNS_MAX)
		return config_refuse(at, key, "expected at most %d patterns", PATTERNS_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (list[i][0] == '\0' || strlen(list[i]) > PATTERN_MAX)
			return config_refuse(at, key, "\"%s\": expected a pattern of 1 to %d bytes", list[i], PATTERN_MAX);
	}
	return 0;
}

static int check_lists(const struct policy_settings *q, const char *key, const struct config_place *at)
{
	const struct { const char *name; const struct pattern_lists *lists; } all[] = {
		{ "device_types", &q->device_types }, { "user_agents", &q->user_agents }, { "protocol_versions", &q->protocol_versions },
	};
	char part[192];

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		snprintf(part, sizeof(part), "%s.%s.allow", key, all[i].name);
		if (check_patterns(all[i].lists->allow, all[i].lists->allow_count, part, at) < 0)
			return -1;
		snprintf(part, sizeof(part), "%s.%s.deny", key, all[i].name);
		if (check_patterns(all[i].lists->deny, all[i].lists->deny_count, part, at) < 0)
			return -1;
	}
	return 0;
}

/* device says what binds, pin how strictly it is held: nothing is held that nothing binds. */
static int check_device_rules(struct policy_settings *q, const char *key, const struct config_place *at)
{
	static const char *const rules[] = { "pin", "registered", "any", NULL };
	static const char *const pins[] = { "off", "log", "enforce", NULL };
	char part[160];
	int rule, pin;

	snprintf(part, sizeof(part), "%s.device", key);
	rule = config_choice(q->device, rules, part, at);
	if (rule < 0)
		return -1;
	q->device_rule = (enum device_rule)rule;
	q->pin_rule = q->device_rule == DEVICE_ANY ? PIN_OFF : PIN_ENFORCE;
	if (q->pin[0] == '\0')
		return 0;
	snprintf(part, sizeof(part), "%s.pin", key);
	pin = config_choice(q->pin, pins, part, at);
	if (pin < 0)
		return -1;
	if (q->device_rule == DEVICE_ANY && pin != PIN_OFF)
		return config_refuse(at, part, "device: any binds no device: expected off, or device: pin or registered");
	q->pin_rule = (enum pin_rule)pin;
	return 0;
}

static int check_new_devices(const struct settings *s, struct policy_settings *q, const char *key, const struct config_place *at)
{
	static const char *const choices[] = { "off", "new", NULL };
	char part[160];
	int choice;

	snprintf(part, sizeof(part), "%s.quarantine", key);
	choice = config_choice(q->quarantine, choices, part, at);
	if (choice < 0)
		return -1;
	q->quarantine_new = choice == 1;
	snprintf(part, sizeof(part), "%s.devices_per_user", key);
	if (s->common.redis == NULL && q->devices_per_user > DEVICE_TABLE_LIMIT)
		return config_refuse(at, part, "more than %d needs the section redis:", DEVICE_TABLE_LIMIT);
	return 0;
}

int settings_check_devices(const struct settings *s, struct policy_settings *q, const char *key, const struct config_place *at)
{
	return check_device_rules(q, key, at) < 0 || check_new_devices(s, q, key, at) < 0 || check_lists(q, key, at) < 0 ? -1 : 0;
}
