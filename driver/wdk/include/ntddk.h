/* ntddk.h with what mingw-w64's lacks. */
#ifdef RTL_USE_AVL_TABLES
/* mingw-w64 declares routines for splay trees with AVL tables, too, but not their type. */
typedef struct _RTL_SPLAY_LINKS {
    struct _RTL_SPLAY_LINKS *Parent;
    struct _RTL_SPLAY_LINKS *LeftChild;
    struct _RTL_SPLAY_LINKS *RightChild;
} RTL_SPLAY_LINKS, *PRTL_SPLAY_LINKS;
#endif
#include_next <ntddk.h>
#include "winvm/ntddk_more.h"
