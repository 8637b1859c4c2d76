/*
 * config/peers.c - networks of peers, and what is special about them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "config/config-private.h"

void config_read_networks(struct yaml_errors *e, const struct yaml_node *list, struct config *cfg,
    struct config_networks *to)
{
	if (!yaml_is_sequence(e, list))
		return;
	to->nets = arena_zalloc(&cfg->arena, (list->count + 1) * sizeof(*to->nets));
	for (const struct yaml_node *n = yaml_first(list); n && to->nets; n = n->next) {
		const char *text = NULL;
		int r;
		if (yaml_string(e, n, &text) < 0 || !text)
			continue;
		r = ip_net_parse(span_str(text), &to->nets[to->count]);
		if (r == -ERR_INVAL)
			yaml_error(e, n, "\"%s\" has bits behind its prefix", text);
		else if (r < 0)
			yaml_error(e, n, "\"%s\" is not a network", text);
		else
			to->count++;
	}
}

bool config_networks_have(const struct config_networks *networks, const struct ip *ip)
{
	for (size_t i = 0; i < networks->count; i++)
		if (ip_net_has(&networks->nets[i], ip))
			return true;
	return false;
}

static void read_discard(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_ehlo_discard *to)
{
	static const char *const names[] = {
#define X(id, name) name,
		CONFIG_EHLO_KEYWORDS(X)
#undef X
		    NULL
	};
	const struct yaml_node *keywords = yaml_need(e, n, "keywords");

	config_read_networks(e, yaml_need(e, n, "networks"), cfg, &to->networks);
	if (!yaml_is_sequence(e, keywords))
		return;
	for (const struct yaml_node *k = yaml_first(keywords); k; k = k->next) {
		unsigned index = 0;
		if (yaml_enum(e, k, names, &index) == 0)
			to->keywords |= 1u << index;
	}
}

void config_read_peers(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	static const char *const keys[] = { "networks", "keywords", NULL };
	const struct yaml_node *list = yaml_get(root, "ehlo_discard");

	config_read_networks(e, yaml_get(root, "xclient_hosts"), cfg, &cfg->xclient_hosts);
	config_read_networks(e, yaml_get(root, "xforward_hosts"), cfg, &cfg->xforward_hosts);
	if (!yaml_is_sequence(e, list))
		return;
	cfg->ehlo_discards =
	    arena_zalloc(&cfg->arena, (list->count + 1) * sizeof(*cfg->ehlo_discards));
	for (const struct yaml_node *n = yaml_first(list); n && cfg->ehlo_discards; n = n->next)
		if (yaml_is_mapping(e, n) && yaml_check_keys(e, n, keys) == 0)
			read_discard(e, n, cfg, &cfg->ehlo_discards[cfg->ehlo_discard_count++]);
}
