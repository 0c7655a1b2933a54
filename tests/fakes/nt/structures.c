/* A kernel that is looked into, never executed: structures with the names that a kernel's public PDB has, at
   offsets of their own, so that a reader which finds what is in them has looked them up. */

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef struct _LIST_ENTRY { struct _LIST_ENTRY *Flink, *Blink; } LIST_ENTRY;
typedef struct _UNICODE_STRING { u16 Length, MaximumLength; u16 *Buffer; } UNICODE_STRING;
typedef struct _KSWITCH_FRAME { u64 Home[3]; u64 Rbp, Return; } KSWITCH_FRAME;
typedef struct _KTHREAD { u8 Header[0x20]; u64 KernelStack; u8 Fill[7], State; } KTHREAD;
typedef struct _ETHREAD { KTHREAD Tcb; u64 CreateTime; LIST_ENTRY ThreadListEntry; } ETHREAD;
typedef struct _EPROCESS {
    u64 ProcessLock;
    LIST_ENTRY ActiveProcessLinks;
    u64 Token;
    u8 ImageFileName[15], PriorityClass;
    LIST_ENTRY ThreadListHead;
} EPROCESS;
typedef struct _OBJECT_HEADER { u64 PointerCount, HandleCount; u8 TypeIndex, InfoMask, Fill[6]; u64 Body; } OBJECT_HEADER;
typedef struct _OBJECT_HEADER_NAME_INFO { void *Directory; UNICODE_STRING Name; u64 ReferenceCount; } OBJECT_HEADER_NAME_INFO;
typedef struct _OBJECT_HEADER_CREATOR_INFO { LIST_ENTRY TypeList; void *CreatorUniqueProcess; u64 Fill; } OBJECT_HEADER_CREATOR_INFO;
/* More members than one record of a PDB lists, and a size that takes a longer number. */
#define TEN(n) u64 n##0, n##1, n##2, n##3, n##4, n##5, n##6, n##7, n##8, n##9;
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
#define THOUSAND(n) HUNDRED(n##0) HUNDRED(n##1) HUNDRED(n##2) HUNDRED(n##3) HUNDRED(n##4) HUNDRED(n##5) HUNDRED(n##6)
typedef struct _LARGE { THOUSAND(member_number_) THOUSAND(another_member_) u64 Last; u8 Bytes[0x9000]; u8 End; } LARGE;

static const u16 Name[] = u"blamed.sys";
static UNICODE_STRING Blamed = { sizeof(Name) - 2, sizeof(Name), (u16 *)Name };
__declspec(dllexport) UNICODE_STRING *KiBugCheckDriver = &Blamed;
KSWITCH_FRAME *A; ETHREAD *B; EPROCESS *C; OBJECT_HEADER *D; OBJECT_HEADER_NAME_INFO *E; LARGE *F;
OBJECT_HEADER_CREATOR_INFO *G;
/* A frame of 0x38 bytes. */
__declspec(dllexport) __attribute__((noinline)) void KiSwapThread(void (*next)(void)) { volatile u64 own[4]; own[0] = 1; next(); own[1]++; }
int NtStart(void) { return KiBugCheckDriver != 0; }
