/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object: making, order, deleting, changing; memory back ends, iothreads, secrets, authorization, random bytes. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-c/json.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/authz.h"
#include "backends/iothread.h"
#include "backends/memory.h"
#include "backends/rng.h"
#include "backends/secret.h"
#include "chardev/char.h"
#include "core/user_object.h"
#include "core/vm.h"

typedef struct Fixture {
    Vm *vm;
    char *dir;
    GPtrArray *args;
} Fixture;

static void setup(Fixture *f, gconstpointer unused)
{
    f->vm = vm_new(NULL);
    f->dir = g_dir_make_tmp("kiln-objects-XXXXXX", NULL);
    f->args = g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))object_args_free);
}

static void teardown(Fixture *f, gconstpointer unused)
{
    chardev_cleanup(f->vm);
    vm_free(f->vm);
    g_autofree char *command = g_strdup_printf("rm -r '%s'", f->dir);
    g_assert_cmpint(system(command), ==, 0);
    g_free(f->dir);
    g_ptr_array_free(f->args, true);
}

static void add(Fixture *f, const char *text)
{
    GError *err = NULL;
    ObjectArgs *args = object_args_parse(text, &err);

    g_assert_no_error(err);
    g_ptr_array_add(f->args, args);
}

static void make(Fixture *f)
{
    GError *err = NULL;

    user_objects_create(f->vm, f->args, false, &err);
    g_assert_no_error(err);
    user_objects_create(f->vm, f->args, true, &err);
    g_assert_no_error(err);
}

static void *one(Fixture *f, const char *text)
{
    g_ptr_array_set_size(f->args, 0);
    add(f, text);
    make(f);
    return user_object_find(f->vm, g_strrstr(text, "id=") + 3, NULL);
}

/* Refused, and the message holds what it has to. */
static void refuse(Fixture *f, const char *text, const char *needle)
{
    g_autoptr(GError) err = NULL;
    ObjectArgs *args = object_args_parse(text, &err);

    if (args) {
        g_ptr_array_set_size(f->args, 0);
        g_ptr_array_add(f->args, args);
        if (user_objects_create(f->vm, f->args, false, &err)) {
            user_objects_create(f->vm, f->args, true, &err);
        }
    }
    if (!err) {
        g_error("%s: is taken", text);
    }
    if (!strstr(err->message, needle) || !g_str_has_prefix(err->message, "-object ")) {
        g_error("%s: says '%s', not '%s'", text, err->message, needle);
    }
}

/* ---- making and deleting ----------------------------------------------------------------- */

static void test_refusals(Fixture *f, gconstpointer unused)
{
    static const struct {
        const char *text, *needle;
    } cases[] = {
        {"memory-backend-ram", "'id' is missing"},
        {"id=a", "'qom-type' is missing"},
        {"memory-backend-rom,id=a", "did you mean 'memory-backend-ram'"},
        {"memory-backend,id=a", "does not accept value 'memory-backend'"},
        {"isa-serial,id=a", "does not accept value 'isa-serial'"},
        {"memory-backend-ram,id=a", "'size' is missing"},
        {"memory-backend-ram,id=1a,size=1M", "expects an identifier"},
        {"memory-backend-ram,id=a,size=0", "'size'"},
        {"memory-backend-ram,id=a,size=16E", "size"},
        {"memory-backend-ram,id=a,size=1M,sise=1", "did you mean 'size'"},
        {"memory-backend-ram,id=a,size=1M,policy=bind", "host-nodes must be set for policy bind"},
        {"memory-backend-ram,id=a,size=1M,host-nodes=0", "policy default"},
        {"memory-backend-ram,id=a,size=1M,host-nodes=2-1,policy=bind", "host-nodes"},
        {"memory-backend-ram,id=a,size=1M,host-nodes=128,policy=bind", "Invalid host-nodes value: 128"},
        {"memory-backend-ram,id=a,size=1M,host-nodes=127,policy=bind", "cannot bind"},
        {"memory-backend-ram,id=a,size=1M,prealloc=on,reserve=off", "incompatible"},
        {"memory-backend-ram,id=a,size=1M,prealloc-threads=0", "prealloc-threads"},
        {"memory-backend-file,id=a,size=1M", "'mem-path' is missing"},
        {"memory-backend-file,id=a,size=1M,mem-path=/nonexistent/x", "/nonexistent/x"},
        {"memory-backend-file,id=a,size=1M,mem-path=/nonexistent,readonly=on", "/nonexistent"},
        {"memory-backend-file,id=a,size=1M,mem-path=/tmp,align=12K", "alignment"},
        {"memory-backend-ram,id=a,size=1M,prealloc=on,prealloc-context=nosuch", "'nosuch' not found"},
        {"thread-context,id=a,cpu-affinity=0,node-affinity=0", "Mixing CPU and node affinity"},
        {"thread-context,id=a,cpu-affinity=x", "expects a number"},
        {"thread-context,id=a,cpu-affinity=1024", "Invalid cpu-affinity value: 1024"},
        {"thread-context,id=a,cpu-affinity=1023", "Setting CPU affinity failed"},
        {"thread-context,id=a,node-affinity=1000", "select no CPUs"},
        {"{\"qom-type\":\"thread-context\",\"id\":\"a\",\"cpu-affinity\":[]}", "CPU list is empty"},
        {"memory-backend-memfd,id=a,size=1M,hugetlbsize=2M", "hugetlb=on"},
        {"memory-backend-memfd,id=a,size=1M,hugetlb=on,hugetlbsize=3M", "power of two"},
        {"iothread,id=a,poll-max-ns=-1", "poll-max-ns"},
        {"iothread,id=a,thread-pool-min=5,thread-pool-max=2", "thread-pool"},
        {"secret,id=a", "Either 'file' or 'data'"},
        {"secret,id=a,data=x,file=y", "mutually exclusive"},
        {"secret,id=a,file=/nonexistent/x", "/nonexistent/x"},
        {"secret,id=a,file=/dev/zero", "more than 1048576 bytes"},
        {"secret,id=a,data=a*b,format=base64", "base64"},
        {"secret_keyring,id=a", "'serial' is missing"},
        {"secret_keyring,id=a,serial=x", "serial"},
        {"secret_keyring,id=a,serial=0x7fffffff5", "serial"},
        {"secret_keyring,id=a,serial=5,iv=eA==", "keyid"},
        {"secret_keyring,id=a,serial=5", "Unable to read serial key 00000005"},
        {"authz-pam,id=a", "'service' is missing"},
        {"secret,id=a,data=eA==,keyid=k,iv=eA==", "No secret with id 'k'"},
        {"secret,id=a,data=eA==,keyid=k", "IV is required"},
        {"authz-simple,id=a", "'identity' is missing"},
        {"pr-manager-helper,id=a", "'path' is missing"},
        {"pr-manager-helper,id=a,path=/nonexistent/x", "path=/nonexistent/x: No such file"},
        {"pr-manager,id=a", "does not accept value 'pr-manager'"},
        {"authz-list,id=a,policy=maybe", "policy"},
        {"authz-list,id=a,rules=x", "JSON"},
        {"authz-list-file,id=a,filename=/nonexistent/x", "/nonexistent/x"},
        {"authz-list-file,id=a,filename=/dev/zero", "more than 1048576 bytes"},
        {"rng-random,id=a,filename=/nonexistent/x", "/nonexistent/x"},
        {"rng-egd,id=a", "'chardev' is missing"},
        {"rng-egd,id=a,chardev=c", "'c'"},
        {"{\"qom-type\":\"iothread\"}", "'id' is missing"},
        {"{\"qom-type\":5,\"id\":\"a\"}", "expected: string"},
        {"{\"qom-type\":\"iothread\",\"id\":\"a\",\"poll-max-ns\":\"5\"}", "expected: integer"},
        {"{\"qom-type\":\"memory-backend-ram\",\"id\":\"a\",\"size\":4096,\"host-nodes\":0}", "expected: array"},
        {"{\"qom-type\":\"authz-list\",\"id\":\"a\",\"rules\":[{\"match\":\"x\"}]}", "'policy' is missing"},
        {"{\"qom-type\":\"authz-list\",\"id\":\"a\",\"rules\":[5]}", "objects"},
        {"{bad", "JSON"},
        {"{\"qom-type\":\"iothread\",\"id\":\"a\"} x", "JSON"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        refuse(f, cases[i].text, cases[i].needle);
        g_assert_null(user_object_find(f->vm, "a", NULL));
    }
}

static void test_secret_is_not_repeated(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(object_args_parse("secret,id=1,data=hush", &err));
    g_assert_null(strstr(err->message, "hush"));
}

/* Named objects come first, wherever they stand; circles end with an error. */
static void test_order(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;
    size_t len;

    add(f, "secret,id=inner,format=base64,data=FJOLJixuQnuY8A2EjKuHzA==,keyid=key,iv=MDEyMzQ1Njc4OWFiY2RlZg==");
    add(f, "secret,id=key,data=01234567890123456789012345678901");
    make(f);
    uint8_t *plain = secret_get(f->vm, "inner", &len, NULL);
    g_assert_cmpmem(plain, len, "hello world", 11);
    secret_free(plain, len);

    g_ptr_array_set_size(f->args, 0);
    add(f, "secret,id=x,data=eA==,keyid=y,iv=eA==");
    add(f, "secret,id=y,data=eA==,keyid=x,iv=eA==");
    g_assert_false(user_objects_create(f->vm, f->args, false, &err));
    g_assert_nonnull(strstr(err->message, "No secret with id"));
}

/* A key that the kernel keeps, raw, and as the base64 of something encrypted; it was read when the object was made. */
static void test_keyring(Fixture *f, gconstpointer unused)
{
    const char text[] = "FJOLJixuQnuY8A2EjKuHzA==";
    long serial = syscall(SYS_add_key, "user", "kiln-test-objects", text, strlen(text), KEY_SPEC_PROCESS_KEYRING);
    size_t len;

    if (serial < 0) {
        g_test_skip("this kernel keeps no keys for us");
        return;
    }
    g_autofree char *raw = g_strdup_printf("secret_keyring,id=raw,serial=%ld", serial);
    g_autofree char *inner =
        g_strdup_printf("secret_keyring,id=inner,format=base64,serial=%ld,keyid=key,iv=MDEyMzQ1Njc4OWFiY2RlZg==", serial);
    add(f, raw);
    add(f, inner);
    add(f, "secret,id=key,data=01234567890123456789012345678901");
    make(f);
    syscall(SYS_keyctl, KEYCTL_REVOKE, serial);
    uint8_t *bytes = secret_get(f->vm, "raw", &len, NULL);
    g_assert_cmpmem(bytes, len, text, strlen(text));
    secret_free(bytes, len);
    bytes = secret_get(f->vm, "inner", &len, NULL);
    g_assert_cmpmem(bytes, len, "hello world", 11);
    secret_free(bytes, len);
    g_ptr_array_set_size(f->args, 0);
    memcpy(raw, "secret_keyring,id=new", strlen("secret_keyring,id=new"));
    refuse(f, raw, "Key has been revoked");
}

static void test_delete(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;
    MemoryBackend *b = one(f, "memory-backend-ram,size=1M,id=m");

    refuse(f, "iothread,id=m", "Duplicate ID 'm'");
    g_assert_true(memory_backend_claim(b, NULL));
    g_assert_false(memory_backend_claim(b, &err));
    g_assert_nonnull(strstr(err->message, "memory backend m can't be used multiple times"));
    g_clear_error(&err);
    g_assert_false(user_object_del(f->vm, "m", &err));
    g_assert_cmpstr(err->message, ==, "object 'm' is in use, can not be deleted");
    g_clear_error(&err);
    memory_backend_release(b);
    g_assert_true(user_object_del(f->vm, "m", NULL));
    g_assert_false(user_object_del(f->vm, "m", &err));
    g_assert_cmpstr(err->message, ==, "object 'm' not found");
}

static void test_change(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;
    Object *m = one(f, "memory-backend-ram,size=1M,id=m");

    g_assert_false(object_set(m, "size", "2M", &err));
    g_assert_nonnull(strstr(err->message, "size"));
    g_clear_error(&err);
    g_assert_true(object_set(m, "merge", "off", NULL));
    g_assert_true(object_set(m, "dump", "off", NULL));
    g_assert_true(object_set(m, "prealloc", "on", NULL));
    Object *t = one(f, "iothread,id=t");
    g_assert_true(object_set(t, "poll-max-ns", "0", NULL));
    g_assert_false(object_set(t, "thread-pool-max", "0", &err));
}

static void test_json(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;
    json_object *json = json_tokener_parse("{\"qom-type\":\"memory-backend-ram\",\"id\":\"j\",\"size\":5000,"
                                           "\"share\":true,\"policy\":\"bind\",\"host-nodes\":[0]}");
    MemoryBackend *b = (MemoryBackend *)(void *)user_object_add(f->vm, json, &err);

    g_assert_no_error(err);
    json_object_put(json);
    g_assert_cmpuint(b->block->size, ==, 8192);
    json_object *nodes = object_get(&b->obj, "host-nodes", NULL);
    g_assert_cmpstr(json_object_to_json_string_ext(nodes, JSON_C_TO_STRING_PLAIN), ==, "[0]");
    json_object_put(nodes);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Pages of the block that exist. */
static unsigned resident(const RamBlock *block)
{
    g_autofree unsigned char *pages = g_malloc(block->size / 4096);
    unsigned n = 0;

    g_assert_cmpint(mincore(block->host, block->size, pages), ==, 0);
    for (uint64_t i = 0; i < block->size / 4096; i++) {
        n += pages[i] & 1;
    }
    return n;
}

static void test_ram(Fixture *f, gconstpointer unused)
{
    const RamBlock *plain = ((MemoryBackend *)one(f, "memory-backend-ram,size=4M,id=p"))->block;

    g_assert_cmpint(plain->fd, ==, -1);
    g_assert_cmpstr(plain->id, ==, "p");
    g_assert_cmpuint((uintptr_t)plain->host % (2 * MIB), ==, 0);
    g_assert_cmpuint(resident(plain), ==, 0);
    const RamBlock *shared = ((MemoryBackend *)one(f, "memory-backend-ram,size=4M,share=on,id=s"))->block;
    g_assert_cmpint(shared->fd, >=, 0);
    shared->host[5] = 0x77;
    uint8_t byte = 0;
    g_assert_cmpint(pread(shared->fd, &byte, 1, 5), ==, 1);
    g_assert_cmpint(byte, ==, 0x77);
    const RamBlock *full =
        ((MemoryBackend *)one(f, "memory-backend-ram,size=1020K,prealloc=on,prealloc-threads=7,id=f"))->block;
    g_assert_cmpuint(resident(full), ==, 255);
    const RamBlock *path =
        ((MemoryBackend *)one(f, "memory-backend-ram,size=4K,x-use-canonical-path-for-ramblock-id=on,id=c"))->block;
    g_assert_cmpstr(path->id, ==, "/objects/c");
}

/* The line of numa_maps for the block: the last one that does not begin behind it. "" where there is none. The caller
 * frees. */
static char *numa_map(const RamBlock *block)
{
    g_autofree char *all = NULL;
    const char *found = "";

    if (!g_file_get_contents("/proc/self/numa_maps", &all, NULL, NULL)) {
        return g_strdup("");
    }
    g_auto(GStrv) lines = g_strsplit(all, "\n", -1);
    for (char **line = lines; *line && **line; line++) {
        if (g_ascii_strtoull(*line, NULL, 16) <= (uintptr_t)block->host) {
            found = *line;
        }
    }
    return g_strdup(found);
}

/* The kernel has the policy, and the pages are where it says. */
static void test_policy(Fixture *f, gconstpointer unused)
{
    static const struct {
        const char *policy, *shown;
    } cases[] = {{"preferred", "prefer"}, {"bind", "bind:0"}, {"interleave", "interleave:0"}};
    g_autofree char *node = NULL, *nodes = NULL;

    if (!g_file_get_contents("/sys/devices/system/node/has_memory", &nodes, NULL, NULL) || !g_str_has_prefix(nodes, "0") ||
        access("/proc/self/numa_maps", R_OK)) {
        g_test_skip("the host does not say where memory lies (no NUMA in its kernel)");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("memory-backend-ram,size=4M,prealloc=on,host-nodes=0,policy=%s,id=p%zu",
                                                cases[i].policy, i);
        g_autofree char *map = numa_map(((MemoryBackend *)one(f, text))->block);

        if (!strstr(map, cases[i].shown) || !strstr(map, "N0=")) {
            g_error("%s: the kernel says '%s'", text, map);
        }
    }
}

/* Threads of the context allocate the memory; it may go afterwards. */
static void test_context(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;
    cpu_set_t mine;
    unsigned cpu = 0;

    g_assert_cmpint(sched_getaffinity(0, sizeof mine, &mine), ==, 0);
    while (!CPU_ISSET(cpu, &mine)) {
        cpu++;
    }
    g_autofree char *text = g_strdup_printf("thread-context,cpu-affinity=%u,id=tc", cpu), *want = g_strdup_printf("[ %u ]", cpu);
    Object *context = one(f, text);
    json_object *cpus = object_get(context, "cpu-affinity", NULL), *tid = object_get(context, "thread-id", NULL);
    g_assert_cmpstr(json_object_to_json_string(cpus), ==, want);
    g_assert_cmpint(json_object_get_int(tid), !=, getpid());
    g_assert_cmpint(sched_getaffinity(json_object_get_int(tid), sizeof mine, &mine), ==, 0);
    g_assert_cmpint(CPU_COUNT(&mine), ==, 1);
    json_object_put(cpus);
    json_object_put(tid);
    MemoryBackend *b = one(f, "memory-backend-ram,size=8M,prealloc=on,prealloc-threads=3,prealloc-context=tc,id=m");
    g_assert_cmpuint(resident(b->block), ==, 2048);
    g_assert_true(user_object_del(f->vm, "tc", &err));
    g_assert_false(object_set(&b->obj, "prealloc", "on", &err));
    g_assert_nonnull(strstr(err->message, "not there any more"));
    refuse(f, "memory-backend-ram,size=8M,prealloc-context=m,id=n", "expected: thread-context");
}

/* Pages of the host's pool, where it has some. */
static void test_huge_pages(Fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL;
    unsigned available = 0;

    if (g_file_get_contents("/proc/meminfo", &text, NULL, NULL) && strstr(text, "HugePages_Free:")) {
        available = (unsigned)atoi(strstr(text, "HugePages_Free:") + strlen("HugePages_Free:"));
    }
    if (available < 2 || !strstr(text, "Hugepagesize:       2048 kB")) {
        g_test_skip("fewer than 2 huge pages of 2 MiB are free; sysctl vm.nr_hugepages=2 makes some");
        return;
    }
    refuse(f, "memory-backend-memfd,size=3M,hugetlb=on,id=h", "no multiple of the huge page size");
    const MemoryBackend *b = one(f, "memory-backend-memfd,size=4M,hugetlb=on,hugetlbsize=2M,prealloc=on,id=h");
    g_autofree char *map = numa_map(b->block);
    g_assert_cmpuint(b->block->page, ==, 2 * MIB);
    g_assert_cmpuint(b->align, ==, 2 * MIB);
    g_assert_true(strstr(map, "huge") && strstr(map, "kernelpagesize_kB=2048"));
}

static void test_pmem(Fixture *f, gconstpointer unused)
{
    g_autofree char *text = g_strdup_printf("memory-backend-file,size=1M,share=on,pmem=on,mem-path=%s/pmem,id=f", f->dir);
    MemoryBackend *b = one(f, text);

    b->block->host[5] = 1; /* DAX or not, it is memory */
    g_assert_true(b->pmem && b->block->shared);
}

static void test_file(Fixture *f, gconstpointer unused)
{
    g_autofree char *path = g_build_filename(f->dir, "ram", NULL);
    g_autofree char *text = g_strdup_printf("memory-backend-file,size=1M,share=on,mem-path=%s,id=f", path);
    g_autofree char *more = g_strdup_printf("memory-backend-file,size=2M,mem-path=%s,id=f", path);
    g_autofree char *readonly = g_strdup_printf("memory-backend-file,size=1M,readonly=on,mem-path=%s,id=f", path);
    g_autofree char *folder = g_strdup_printf("memory-backend-file,size=1M,mem-path=%s,id=d", f->dir);
    g_autofree char *bad = g_strdup_printf("memory-backend-file,size=1M,host-nodes=99,policy=bind,mem-path=%s2,id=b", path);
    g_autofree char *bad_path = g_strconcat(path, "2", NULL);
    struct stat st;

    MemoryBackend *b = one(f, text);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 1 << 20);
    memcpy(b->block->host, "kept", 4);
    g_assert_true(user_object_del(f->vm, "f", NULL));
    refuse(f, more, "does not match 'size'");
    b = one(f, readonly);
    g_assert_cmpmem(b->block->host, 4, "kept", 4);
    one(f, folder);
    g_autoptr(GDir) dir = g_dir_open(f->dir, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(dir), ==, "ram"); /* the unnamed file is not there */
    g_assert_null(g_dir_read_name(dir));
    refuse(f, bad, "cannot bind");
    g_assert_cmpint(access(bad_path, F_OK), ==, -1); /* what was made goes again */
}

static void test_memfd(Fixture *f, gconstpointer unused)
{
    const MemoryBackend *b = one(f, "memory-backend-memfd,size=1M,id=m");

    g_assert_true(b->share);
    g_assert_cmpint(ftruncate(b->block->fd, 4096), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    b = one(f, "memory-backend-memfd,size=1M,seal=off,id=u");
    g_assert_cmpint(ftruncate(b->block->fd, 4096), ==, 0);
}

static void on_state(void *opaque, bool running, RunState state)
{
    if (state == RUN_STATE_INTERNAL_ERROR) {
        vm_request_exit(opaque, 3);
    }
}

/* A truncated file does not kill: zeros are read, and the VM is told to stop. */
static void test_truncated(Fixture *f, gconstpointer unused)
{
    g_autofree char *path = g_build_filename(f->dir, "ram", NULL);
    g_autofree char *text = g_strdup_printf("memory-backend-file,size=1M,share=on,mem-path=%s,id=t", path);
    const RamBlock *block = ((MemoryBackend *)one(f, text))->block;

    block->host[0] = 1;
    block->host[0x5000] = 2;
    g_assert_cmpint(truncate(path, 0x1000), ==, 0);
    g_assert_cmpint(*(volatile uint8_t *)&block->host[0x5000], ==, 0);
    g_assert_cmpint(*(volatile uint8_t *)&block->host[0], ==, 1);
    vm_on_run_state(f->vm, on_state, f->vm);
    g_assert_true(vm_start(f->vm, NULL));
    g_assert_cmpint(vm_main_loop(f->vm), ==, 3);
}

/* ---- iothreads ----------------------------------------------------------------------------------- */

static void posted(void *opaque) { sem_post(opaque); }

static void test_iothread(Fixture *f, gconstpointer unused)
{
    IoThread *t = one(f, "iothread,poll-max-ns=50000,poll-grow=3,poll-shrink=2,id=t");
    sem_t done;

    sem_init(&done, 0, 0);
    g_assert_cmpint(t->tid, >, 0);
    g_assert_cmpint(t->tid, !=, getpid());
    for (unsigned i = 0; i < 1000; i++) {
        loop_post(t->loop, posted, &done);
        while (sem_wait(&done) < 0) {
        }
        if (i == 500) {
            g_assert_true(object_set(&t->obj, "poll-max-ns", "0", NULL));
        }
    }
    sem_destroy(&done);
}

/* ---- authorization ---------------------------------------------------------------------------------- */

static bool allowed(Fixture *f, const char *id, const char *who) { return authz_is_allowed(f->vm, id, who, NULL); }

static void test_authz(Fixture *f, gconstpointer unused)
{
    g_autofree char *path = g_build_filename(f->dir, "list", NULL);
    g_autofree char *text = g_strdup_printf("authz-list-file,filename=%s,id=file", path);

    one(f, "authz-simple,identity=fred,id=simple");
    g_assert_true(allowed(f, "simple", "fred"));
    g_assert_false(allowed(f, "simple", "fre"));
    add(f, "{\"qom-type\":\"authz-list\",\"id\":\"list\",\"policy\":\"deny\",\"rules\":["
           "{\"match\":\"fred\",\"policy\":\"deny\"},{\"match\":\"f*\",\"policy\":\"allow\",\"format\":\"glob\"}]}");
    make(f);
    g_assert_false(allowed(f, "list", "fred"));
    g_assert_true(allowed(f, "list", "frank"));
    g_assert_false(allowed(f, "list", "mary"));
    g_assert_false(allowed(f, "nosuch", "mary"));
    g_assert_true(g_file_set_contents(path, "{\"policy\":\"allow\"}", -1, NULL));
    one(f, text);
    g_assert_true(allowed(f, "file", "mary"));
    g_assert_true(g_file_set_contents(path, "{\"policy\":\"deny\", \"rules\": []}", -1, NULL));
    g_assert_false(allowed(f, "file", "mary"));
    g_assert_true(g_file_set_contents(path, "broken", -1, NULL));
    g_assert_false(allowed(f, "file", "mary"));
}

/* The rules of a service that every Debian has: whoever has an account may. */
static void test_authz_pam(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) err = NULL;

    if (geteuid() || access("/etc/pam.d/su", R_OK)) {
        g_test_skip("needs root, and PAM's service su");
        return;
    }
    one(f, "authz-pam,service=su,id=pam");
    g_assert_true(authz_is_allowed(f->vm, "pam", "root", &err));
    g_assert_no_error(err);
    g_assert_false(authz_is_allowed(f->vm, "pam", "no-such-user-of-kiln", &err));
    g_assert_no_error(err);
}

/* ---- random bytes -------------------------------------------------------------------------------------- */

static void test_rng(Fixture *f, gconstpointer unused)
{
    static const char *const texts[] = {"rng-builtin,id=r", "rng-random,id=r", "rng-random,filename=/proc/self/exe,id=r"};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        RngBackend *rng = one(f, texts[i]);
        uint8_t data[100] = {0}, none[100] = {0};

        g_assert_true(rng_can_read(rng));
        g_assert_cmpint(rng_read(rng, data, sizeof data), ==, sizeof data);
        g_assert_cmpint(memcmp(data, none, sizeof data), !=, 0);
        g_assert_cmpint(rng_read(rng, data, 1), ==, 1);
        g_assert_true(user_object_del(f->vm, "r", NULL));
    }
}

/* ---- a daemon ------------------------------------------------------------------------------------------- */

typedef struct Got {
    uint8_t data[512];
    size_t len;
} Got;

static void got(void *opaque, const uint8_t *data, size_t len)
{
    Got *g = opaque;

    memcpy(g->data, data, len);
    g->len = len;
}

/* The daemon's turn: it is asked for so many bytes, and answers with that value. */
static void answer(Fixture *f, int daemon, uint8_t count, uint8_t value)
{
    uint8_t command[2], data[256];
    ssize_t n;

    while ((n = recv(daemon, command, sizeof command, MSG_DONTWAIT | MSG_PEEK)) < (ssize_t)sizeof command) {
        g_assert_true(n > 0 || errno == EAGAIN);
        loop_run_once(f->vm->loop, NSEC_PER_SEC);
    }
    g_assert_cmpint(recv(daemon, command, sizeof command, 0), ==, sizeof command);
    g_assert_cmpuint(command[0], ==, 2);
    g_assert_cmpuint(command[1], ==, count);
    memset(data, value, sizeof data);
    g_assert_cmpint(send(daemon, data, count, 0), ==, count);
}

static void until(Fixture *f, const Got *g)
{
    while (!g->len) {
        loop_run_once(f->vm->loop, NSEC_PER_SEC);
    }
}

/* One request after the other, 255 bytes at most; what was asked for nobody any more goes to nobody. */
static void test_rng_egd(Fixture *f, gconstpointer unused)
{
    GError *err = NULL;
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    g_autofree char *chardev = g_strdup_printf("socket,id=c,fd=%d", ends[1]);
    chardev_add_option(f->vm, chardev, &err);
    g_assert_no_error(err);
    RngBackend *rng = one(f, "rng-egd,chardev=c,id=r");
    Got first = {0}, never = {0}, last = {0};

    g_assert_false(rng_can_read(rng));
    rng_request(rng, 16, got, &first);
    rng_request(rng, 100, got, &never);
    rng_request(rng, 1000, got, &last);
    rng_cancel(rng, &never);
    g_assert_cmpuint(first.len, ==, 0);
    answer(f, ends[0], 16, 1);
    until(f, &first);
    answer(f, ends[0], 100, 2);
    answer(f, ends[0], 255, 3);
    until(f, &last);
    g_assert_cmpuint(first.len, ==, 16);
    g_assert_cmpuint(first.data[15], ==, 1);
    g_assert_cmpuint(last.len, ==, 255);
    g_assert_cmpuint(last.data[254], ==, 3);
    g_assert_cmpuint(never.len, ==, 0);
    g_assert_true(user_object_del(f->vm, "r", NULL));
    close(ends[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/objects/" name, Fixture, NULL, setup, fn, teardown)
    ADD("refusals", test_refusals);
    ADD("secret-is-not-repeated", test_secret_is_not_repeated);
    ADD("order", test_order);
    ADD("delete", test_delete);
    ADD("change", test_change);
    ADD("json", test_json);
    ADD("ram", test_ram);
    ADD("policy", test_policy);
    ADD("thread-context", test_context);
    ADD("huge-pages", test_huge_pages);
    ADD("pmem", test_pmem);
    ADD("file", test_file);
    ADD("memfd", test_memfd);
    ADD("truncated", test_truncated);
    ADD("iothread", test_iothread);
    ADD("authz", test_authz);
    ADD("authz-pam", test_authz_pam);
    ADD("keyring", test_keyring);
    ADD("rng", test_rng);
    ADD("rng-egd", test_rng_egd);
    return g_test_run();
}
