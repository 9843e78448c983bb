/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: the graph of block nodes as it is: filters that options put in, too, and what each user does and lets others do. */
#include "block/block_int.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

/* As QEMU lists them, the strongest first. */
static GArray *permissions(uint32_t perms)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(int));

    for (int bit = BLOCK_PERMISSION_RESIZE; bit >= BLOCK_PERMISSION_CONSISTENT_READ; bit--) {
        if (perms & (1u << bit)) {
            g_array_append_val(list, bit);
        }
    }
    return list;
}

static XDbgBlockGraphNode *graph_node(uint64_t id, XDbgBlockGraphNodeType type, char *name)
{
    XDbgBlockGraphNode *node = g_new0(XDbgBlockGraphNode, 1);

    *node = (XDbgBlockGraphNode){.id = id, .type = type, .name = name};
    return node;
}

/* Back ends are numbered first, from 1 on, then nodes. */
static uint64_t graph_id(const GPtrArray *list, const void *element, uint64_t before)
{
    guint index = 0;

    g_ptr_array_find((GPtrArray *)list, element, &index);
    return before + 1 + index;
}

static XDbgBlockGraphEdge *graph_edge(const BlockState *s, const BlockChild *child)
{
    XDbgBlockGraphEdge *edge = g_new0(XDbgBlockGraphEdge, 1);

    edge->parent = child->blk ? graph_id(s->backends, child->blk, 0) : graph_id(s->nodes, child->parent, s->backends->len);
    edge->child = graph_id(s->nodes, child->node, s->backends->len);
    edge->name = g_strdup(child->name);
    edge->perm = permissions(child->used);
    edge->shared_perm = permissions(child->shared);
    return edge;
}

bool qmp_x_debug_query_block_graph(QmpCall *call, GError **err)
{
    const BlockState *s = block_state(call->vm);
    XDbgBlockGraph *graph = g_new0(XDbgBlockGraph, 1);

    graph->nodes = g_ptr_array_new();
    graph->edges = g_ptr_array_new();
    for (unsigned i = 0; i < s->backends->len; i++) {
        const BlockBackend *blk = g_ptr_array_index(s->backends, i);
        char *device = *blk_name(blk) ? g_strdup(blk_name(blk)) : blk_qdev(blk);

        g_ptr_array_add(graph->nodes, graph_node(i + 1, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_BACKEND, device ? device : g_strdup("")));
    }
    for (unsigned i = 0; i < s->nodes->len; i++) {
        const BlockNode *node = g_ptr_array_index(s->nodes, i);

        g_ptr_array_add(graph->nodes, graph_node(s->backends->len + 1 + i, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER, g_strdup(node->name)));
        for (unsigned j = 0; j < node->parents->len; j++) {
            g_ptr_array_add(graph->edges, graph_edge(s, g_ptr_array_index(node->parents, j)));
        }
    }
    call->result = graph;
    return true;
}
