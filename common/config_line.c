/*
 * config_line: on which line of a YAML text a key path stands, for errors found after loading.
 * Walks libyaml's events; the text was loaded by the schema before, so it is well-formed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/config.h"

/* One step of the path: a key, or an index. */
static bool next_step(const char **path, char key[128], unsigned *index)
{
	const char *p = *path;
	size_t n;

	if (*p == '.')
		p++;
	if (*p == '\0')
		return false;
	key[0] = '\0';
	if (*p == '[') {
		*index = (unsigned)strtoul(p + 1, NULL, 10);
		p = strchr(p, ']');
		*path = p != NULL ? p + 1 : "";
		return true;
	}
	n = strcspn(p, ".[");
	snprintf(key, 128, "%.*s", (int)(n < 127 ? n : 127), p);
	*path = p + n;
	return true;
}

static yaml_node_t *step_into(yaml_document_t *doc, yaml_node_t *node, const char *key, unsigned index, unsigned *line)
{
	if (key[0] == '\0') {
		yaml_node_item_t *item;
		if (node->type != YAML_SEQUENCE_NODE)
			return NULL;
		item = node->data.sequence.items.start + index;
		return item < node->data.sequence.items.top ? yaml_document_get_node(doc, *item) : NULL;
	}
	if (node->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);
		if (k->type == YAML_SCALAR_NODE && strcmp((const char *)k->data.scalar.value, key) == 0) {
			*line = (unsigned)k->start_mark.line + 1;
			return yaml_document_get_node(doc, p->value);
		}
	}
	return NULL;
}

/* The line, 0 if the text is no YAML; *whole: the path led to its end. */
static unsigned follow(struct strv text, const char *key_path, bool *whole)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	yaml_node_t *node;
	unsigned line = 1, index = 0;
	char key[128];

	*whole = false;
	if (!yaml_parser_initialize(&parser))
		return 0;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	if (!yaml_parser_load(&parser, &doc)) {
		yaml_parser_delete(&parser);
		return 0;
	}
	node = yaml_document_get_root_node(&doc);
	/* As far as the path goes: a key that is missing is reported where its mapping begins. */
	while (node != NULL && next_step(&key_path, key, &index)) {
		node = step_into(&doc, node, key, index, &line);
		if (node != NULL && key[0] == '\0')
			line = (unsigned)node->start_mark.line + 1;
	}
	*whole = node != NULL;
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return line;
}

unsigned config_line_of(struct strv text, const char *key_path)
{
	bool whole;

	return follow(text, key_path, &whole);
}

bool config_names_key(struct strv text, const char *key_path)
{
	bool whole;

	return follow(text, key_path, &whole) != 0 && whole;
}
