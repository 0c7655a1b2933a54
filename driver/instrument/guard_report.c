/*
 * guard_report.c - what the guard says: a violation with the driver's stack, then the bugcheck; and what was left
 * behind. The host reads these lines (harness/guests/wine/guard_lines.py) and names functions and lines.
 */
#include "guard.h"

extern UCHAR __ImageBase[];

typedef struct GUARD_SECTION {
    CHAR Name[8];
    ULONG Size;
    ULONG Start;
    ULONG Unused[6];
} GUARD_SECTION;

static PUCHAR Headers(VOID) {
    return __ImageBase + *(ULONG *)(__ImageBase + 0x3C);
}

VOID GuardImage(ULONG_PTR *Start, ULONG_PTR *End) {
    *Start = (ULONG_PTR)__ImageBase;
    *End = *Start + *(ULONG *)(Headers() + 24 + 56);
}

BOOLEAN GuardInImage(ULONG_PTR Address) {
    ULONG_PTR start, end;

    GuardImage(&start, &end);
    return Address >= start && Address < end;
}

/* A section is pageable if its name begins with PAGE. */
BOOLEAN GuardInPagedCode(ULONG_PTR Address) {
    PUCHAR headers = Headers();
    USHORT count = *(USHORT *)(headers + 6);
    const GUARD_SECTION *section = (const GUARD_SECTION *)(headers + 24 + *(USHORT *)(headers + 20));
    ULONG_PTR at = Address - (ULONG_PTR)__ImageBase;

    for (USHORT i = 0; i < count; i++, section++) {
        if (at >= section->Start && at - section->Start < section->Size) {
            return section->Name[0] == 'P' && section->Name[1] == 'A' && section->Name[2] == 'G' &&
                   section->Name[3] == 'E';
        }
    }
    return FALSE;
}

/* The image's own unwind data: no lock is taken, as RtlLookupFunctionEntry may. */
static GUARD_FUNCTION *FunctionOf(ULONG_PTR Address) {
    PUCHAR headers = Headers();
    GUARD_FUNCTION *functions = (GUARD_FUNCTION *)(__ImageBase + *(ULONG *)(headers + 24 + 112 + 24));
    ULONG low = 0, high = *(ULONG *)(headers + 24 + 112 + 28) / sizeof(*functions);
    ULONG at = (ULONG)(Address - (ULONG_PTR)__ImageBase);

    while (low < high) {
        ULONG middle = (low + high) / 2;
        if (at < functions[middle].Begin) {
            high = middle;
        } else if (at >= functions[middle].End) {
            low = middle + 1;
        } else {
            return &functions[middle];
        }
    }
    return NULL;
}

/* Walks to the caller in one step; FALSE if it left the image. A leaf has no unwind data. */
static BOOLEAN Unwind(CONTEXT *Context) {
    GUARD_FUNCTION *function = FunctionOf(Context->Rip);

    if (function == NULL) {
        Context->Rip = *(ULONG_PTR *)Context->Rsp;
        Context->Rsp += sizeof(ULONG_PTR);
    } else {
        PVOID data;
        ULONG64 frame;
        RtlVirtualUnwind(0, (ULONG_PTR)__ImageBase, Context->Rip, function, Context, &data, &frame, NULL);
    }
    return GuardInImage(Context->Rip);
}

/* Return addresses are told as addresses in the call before them. */
static VOID Walk(CONTEXT *Context, GUARD_SITE *Site, BOOLEAN Returned) {
    for (ULONG i = 0; i < GUARD_FRAMES; i++, Returned = TRUE) {
        Site->Frames[i] = Context->Rip - (Returned ? 1 : 0);
        if (!Unwind(Context)) {
            break;
        }
    }
}

/* The frames from the driver's own call on, which are inside the image as the guard's are. Caller may also be a
   function, which is told as it is. */
VOID GuardSite(ULONG_PTR Caller, GUARD_SITE *Site) {
    CONTEXT context;

    RtlZeroMemory(Site, sizeof(*Site));
    Site->Frames[0] = Caller;
    if (!GuardInImage(Caller)) {
        return;
    }
    const GUARD_FUNCTION *function = FunctionOf(Caller);
    if (function != NULL && function->Begin == (ULONG)(Caller - (ULONG_PTR)__ImageBase)) {
        return;
    }
    Site->Frames[0] = Caller - 1;
    RtlCaptureContext(&context);
    for (ULONG i = 0; i < 8 && context.Rip != Caller; i++) {
        if (!Unwind(&context)) {
            return;
        }
    }
    if (context.Rip == Caller) {
        Walk(&context, Site, TRUE);
    }
}

static VOID PrintSite(PCSTR What, const GUARD_SITE *Site) {
    DbgPrint("winvm-guard: %s at %p %p %p %p %p %p\n", What, Site->Frames[0], Site->Frames[1], Site->Frames[2],
             Site->Frames[3], Site->Frames[4], Site->Frames[5]);
}

static DECLSPEC_NORETURN VOID Crash(PCSTR What, const GUARD_SITE *Site, ULONG Code, ULONG_PTR First, ULONG_PTR Second,
                                    ULONG_PTR Third, ULONG_PTR Fourth) {
    GuardOn = 0;
    DbgPrint("winvm-guard: violation: %s\n", What);
    PrintSite("stack", Site);
    KeBugCheckEx(Code, First, Second, Third, Fourth);
}

VOID GuardViolation(ULONG_PTR Caller, PCSTR What, ULONG Code, ULONG_PTR First, ULONG_PTR Second, ULONG_PTR Third,
                    ULONG_PTR Fourth) {
    GUARD_SITE site;

    GuardSite(Caller, &site);
    Crash(What, &site, Code, First, Second, Third, Fourth);
}

/* For a fault: the place is where the processor was, or, if that is in a routine of the kernel, the driver's call. */
VOID GuardViolationAt(const CONTEXT *Context, PCSTR What, ULONG Code, ULONG_PTR First, ULONG_PTR Second,
                      ULONG_PTR Third) {
    GUARD_SITE site;
    CONTEXT context = *Context;

    RtlZeroMemory(&site, sizeof(site));
    for (ULONG i = 0; i < 16 && !GuardInImage(context.Rip); i++) {
        ULONG64 base, frame;
        PVOID data;
        GUARD_FUNCTION *function = RtlLookupFunctionEntry(context.Rip, &base, NULL);
        if (function == NULL) {
            context.Rip = *(ULONG_PTR *)context.Rsp;
            context.Rsp += sizeof(ULONG_PTR);
        } else {
            RtlVirtualUnwind(0, base, context.Rip, function, &context, &data, &frame, NULL);
        }
    }
    if (GuardInImage(context.Rip)) {
        Walk(&context, &site, context.Rip != Context->Rip);
    } else {
        site.Frames[0] = Context->Rip;
    }
    Crash(What, &site, Code, First, Second, Third, 0);
}

static GUARD_SITE LeftAt; /* of what was printed first as left; empty without any */

VOID GuardViolationLeft(ULONG_PTR Routine, PCSTR What, ULONG Code, ULONG_PTR First, ULONG_PTR Second, ULONG_PTR Third,
                        ULONG_PTR Fourth) {
    GUARD_SITE site = LeftAt;

    if (site.Frames[0] == 0) {
        GuardSite(Routine, &site);
    }
    Crash(What, &site, Code, First, Second, Third, Fourth);
}

VOID GuardNothingLeft(VOID) {
    RtlZeroMemory(&LeftAt, sizeof(LeftAt));
}

VOID GuardPrintLeft(PCSTR What, ULONG_PTR Address, ULONGLONG Bytes, ULONG Tag, const GUARD_SITE *Site) {
    CHAR tag[5] = {0};

    for (ULONG i = 0; i < 4; i++) {
        CHAR one = (CHAR)(Tag >> (8 * i));
        tag[i] = one > ' ' && one < 0x7F ? one : '.';
    }
    DbgPrint("winvm-guard: left: %s %p %I64u bytes tag %s\n", What, (PVOID)Address, Bytes, Tag ? tag : "-");
    PrintSite("left", Site);
    if (LeftAt.Frames[0] == 0) {
        LeftAt = *Site;
    }
}
