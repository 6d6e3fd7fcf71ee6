/*
 * config_shape: walks a parsed YAML document beside a libcyaml schema and names the first thing that does not fit.
 * Opens nothing, keeps nothing. Runs wherever a configuration is loaded.
 */
#include "common/config_shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/text.h"

#define PATH_MAX_LEN  256
#define SHOWN_MAX     60	/* bytes of a wrong value that an error shows */

struct walk {
	const char *name;
	struct config_error *error;
	yaml_document_t doc;
	char path[PATH_MAX_LEN];	/* "proxy.hosts[0].names" */
};

PRINTF(3, 4) static int fail(struct walk *w, size_t line, const char *fmt, ...)
{
	va_list args;
	int n = snprintf(w->error->text, sizeof(w->error->text), "%s:%zu: %s%s", w->name, line + 1, w->path, w->path[0] != '\0' ? ": " : "");

	if (n < 0 || (size_t)n >= sizeof(w->error->text))
		return -1;
	va_start(args, fmt);
	vsnprintf(w->error->text + n, sizeof(w->error->text) - (size_t)n, fmt, args);
	va_end(args);
	return -1;
}

/* --- the text as YAML --- */

/* A reader's complaint has an offset only; the others have a line. */
static size_t line_of_problem(const yaml_parser_t *parser, struct strv text)
{
	size_t line = 0;

	if (parser->error != YAML_READER_ERROR)
		return parser->problem_mark.line;
	for (size_t i = 0; i < parser->problem_offset && i < text.n; i++)
		line += text.p[i] == '\n';
	return line;
}

static int fail_yaml(struct walk *w, const yaml_parser_t *parser, struct strv text)
{
	return fail(w, line_of_problem(parser, text), "this is no YAML: %s", parser->problem != NULL ? parser->problem : "out of memory");
}

/* 1: go on, 0: the end, -1: refused. */
static int check_event(struct walk *w, const yaml_event_t *event, unsigned *documents)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return fail(w, event->start_mark.line, "found an alias (*%s): expected the value itself", event->data.alias.anchor);
	case YAML_DOCUMENT_START_EVENT:
		if (++*documents > 1)
			return fail(w, event->start_mark.line, "found a second document: expected one, without ---");
		return 1;
	case YAML_STREAM_END_EVENT:
		return 0;
	default:
		return 1;
	}
}

static int check_events(struct walk *w, struct strv text)
{
	yaml_parser_t parser;
	yaml_event_t event;
	unsigned documents = 0;
	int rc = 1;

	if (!yaml_parser_initialize(&parser))
		return fail(w, 0, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	while (rc > 0) {
		if (!yaml_parser_parse(&parser, &event)) {
			rc = fail_yaml(w, &parser, text);
			break;
		}
		rc = check_event(w, &event, &documents);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return rc;
}

static int load(struct walk *w, struct strv text)
{
	yaml_parser_t parser;
	int rc = 0;

	if (!yaml_parser_initialize(&parser))
		return fail(w, 0, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	if (!yaml_parser_load(&parser, &w->doc))
		rc = fail_yaml(w, &parser, text);
	yaml_parser_delete(&parser);
	return rc;
}

/* --- the document beside the schema --- */

static const char *expected(const cyaml_schema_value_t *schema)
{
	switch (schema->type) {
	case CYAML_UINT:
		return "a whole number";
	case CYAML_BOOL:
		return "true or false";
	case CYAML_STRING:
		return "a text";
	case CYAML_MAPPING:
		return "keys with values";
	case CYAML_SEQUENCE:
		return "a list";
	default:
		return "another value";
	}
}

/* What stands there, for people: a short value itself, or its kind. */
static const char *found(const yaml_node_t *node, char shown[SHOWN_MAX + 8])
{
	struct strv value;

	if (node->type == YAML_SEQUENCE_NODE)
		return "a list";
	if (node->type == YAML_MAPPING_NODE)
		return "keys with values";
	value = (struct strv){ (const char *)node->data.scalar.value, node->data.scalar.length };
	if (value.n == 0 && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return "nothing";
	if (!text_is_clean(value))
		return "a text with control characters";
	snprintf(shown, SHOWN_MAX + 8, "\"%.*s\"%s", (int)(value.n < SHOWN_MAX ? value.n : SHOWN_MAX), value.p, value.n > SHOWN_MAX ? "..." : "");
	return shown;
}

static int fail_type(struct walk *w, const yaml_node_t *node, const cyaml_schema_value_t *schema)
{
	char shown[SHOWN_MAX + 8];

	return fail(w, node->start_mark.line, "found %s: expected %s", found(node, shown), expected(schema));
}

/* Plain `key:`, `key: ~` and `key: null` are nothing to YAML and an empty or odd text to the library. */
static bool is_null(const yaml_node_t *node)
{
	const char *v = (const char *)node->data.scalar.value;

	return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (v[0] == '\0' || strcmp(v, "~") == 0 || strcmp(v, "null") == 0);
}

static bool fits_scalar(const yaml_node_t *node, const cyaml_schema_value_t *schema)
{
	struct strv v;
	uint64_t number;

	if (node->type != YAML_SCALAR_NODE || is_null(node))
		return false;
	v = (struct strv){ (const char *)node->data.scalar.value, node->data.scalar.length };
	switch (schema->type) {
	case CYAML_UINT:
		/* no leading zero: 010 is 8 to some readers */
		return (v.n == 1 || v.p[0] != '0') && text_u64(v, schema->data_size == 8 ? UINT64_MAX : UINT32_MAX, &number) == 0;
	case CYAML_BOOL:
		return strv_eq(v, STRV("true")) || strv_eq(v, STRV("false"));
	case CYAML_STRING:
		return memchr(v.p, '\0', v.n) == NULL;
	default:
		return true;
	}
}

static int check_node(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema);

/* Goes one step down the path and back. */
static int check_below(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema, const char *step)
{
	size_t n = strlen(w->path);
	int rc;

	snprintf(w->path + n, sizeof(w->path) - n, "%s%s", n > 0 && step[0] != '[' ? "." : "", step);
	rc = check_node(w, node, schema);
	w->path[n] = '\0';
	return rc;
}

static const cyaml_schema_field_t *field_of(const cyaml_schema_field_t *fields, const char *key)
{
	while (fields->key != NULL && strcmp(fields->key, key) != 0)
		fields++;
	return fields->key != NULL ? fields : NULL;
}

static int fail_unknown(struct walk *w, const yaml_node_t *key, const cyaml_schema_field_t *fields)
{
	char list[320] = "", shown[SHOWN_MAX + 8];
	size_t n = 0;

	for (; fields->key != NULL && n < sizeof(list); fields++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? ", " : "", fields->key);
	return fail(w, key->start_mark.line, "unknown key %s: expected one of %s", found(key, shown), list);
}

static yaml_node_t *node_of(struct walk *w, int index)
{
	return yaml_document_get_node(&w->doc, index);
}

static const char *key_text(const yaml_node_t *key)
{
	return key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";
}

static bool stands_before(struct walk *w, yaml_node_pair_t *start, yaml_node_pair_t *pair)
{
	for (yaml_node_pair_t *p = start; p < pair; p++) {
		if (strcmp(key_text(node_of(w, p->key)), key_text(node_of(w, pair->key))) == 0)
			return true;
	}
	return false;
}

static int check_mapping(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema)
{
	const cyaml_schema_field_t *fields = schema->mapping.fields;
	yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top, *p;

	for (p = start; p < top; p++) {
		yaml_node_t *key = node_of(w, p->key);
		const cyaml_schema_field_t *field = field_of(fields, key_text(key));
		if (field == NULL)
			return fail_unknown(w, key, fields);
		if (stands_before(w, start, p))
			return fail(w, key->start_mark.line, "%s stands twice: expected it once", field->key);
		if (check_below(w, node_of(w, p->value), &field->value, field->key) < 0)
			return -1;
	}
	for (; fields->key != NULL; fields++) {
		if ((fields->value.flags & CYAML_FLAG_OPTIONAL) != 0)
			continue;
		for (p = start; p < top && strcmp(key_text(node_of(w, p->key)), fields->key) != 0; p++)
			;
		if (p == top)
			return fail(w, node->start_mark.line, "%s is missing: expected %s", fields->key, expected(&fields->value));
	}
	return 0;
}

static int check_sequence(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema)
{
	yaml_node_item_t *start = node->data.sequence.items.start, *top = node->data.sequence.items.top;
	char step[24];

	for (yaml_node_item_t *i = start; i < top; i++) {
		snprintf(step, sizeof(step), "[%zu]", (size_t)(i - start));
		if (check_below(w, node_of(w, *i), schema->sequence.entry, step) < 0)
			return -1;
	}
	return 0;
}

static int check_node(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema)
{
	switch (schema->type) {
	case CYAML_IGNORE:
		return 0;
	case CYAML_MAPPING:
		return node->type == YAML_MAPPING_NODE ? check_mapping(w, node, schema) : fail_type(w, node, schema);
	case CYAML_SEQUENCE:
		return node->type == YAML_SEQUENCE_NODE ? check_sequence(w, node, schema) : fail_type(w, node, schema);
	default:
		return fits_scalar(node, schema) ? 0 : fail_type(w, node, schema);
	}
}

int config_shape(const char *name, struct strv text, const cyaml_schema_value_t *schema, struct config_error *error)
{
	struct walk w = { .name = name, .error = error };
	yaml_node_t *root;
	int rc;

	if (check_events(&w, text) < 0 || load(&w, text) < 0)
		return -1;
	root = yaml_document_get_root_node(&w.doc);
	if (root == NULL)
		rc = fail(&w, 0, "the file says nothing: see docs/easgate.yaml for every key");
	else
		rc = check_node(&w, root, schema);
	yaml_document_delete(&w.doc);
	return rc;
}
