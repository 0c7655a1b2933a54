/*
 * guidance.c - the run-time half of clang's SanitizerCoverage: which edges of the driver's control flow ran since the
 * fuzzer last asked, and which integers the driver compared. Source of names and sections:
 * https://clang.llvm.org/docs/SanitizerCoverage.html.
 *
 * The compiler puts a counter of 8 bits for each edge into .SCOV$CM; the linker sorts by what follows the dollar sign.
 * What is new is decided here: the fuzzer asks after every case, and an answer of a few bytes is cheaper than all
 * counters. Counters are not counted up atomically: a lost count costs a case at most.
 */
#include "instrument.h"

#define SEEN_SIZE 65536u /* a counter beyond it shares a byte with an earlier one */
#define PAIRS 64u

typedef struct WINVM_COMPARED {
    ULONGLONG First;
    ULONGLONG Second;
} WINVM_COMPARED;

/* guest/agent/fuzz/guidance.py reads it. */
typedef struct WINVM_NOVELTY {
    ULONG Edges;  /* that ran for the first time */
    ULONG Counts; /* edges that ran more often than ever, by powers of two */
    ULONG Total;  /* edges that have run so far */
    ULONG Pairs;  /* how many follow */
    WINVM_COMPARED Compared[PAIRS];
} WINVM_NOVELTY;

__attribute__((section(".SCOV$CA"), used)) static volatile UCHAR First = 0;
__attribute__((section(".SCOV$CZ"), used)) static volatile UCHAR End = 0;

static UCHAR Seen[SEEN_SIZE];
static ULONG Total;
static WINVM_COMPARED Compared[PAIRS];

/* The compiler's module constructors refer to these; no kernel runs such constructors. */
const char __start___sancov_cntrs __attribute__((used)) = 0;
const char __stop___sancov_cntrs __attribute__((used)) = 0;
VOID __sanitizer_cov_8bit_counters_init(char *Start, char *Stop) {
    UNREFERENCED_PARAMETER(Start);
    UNREFERENCED_PARAMETER(Stop);
}

/* A slot belongs to a place in the driver and its operands: the last pair wins. At any IRQL, in any thread. */
static VOID Keep(ULONG_PTR Place, ULONGLONG One, ULONGLONG Other) {
    if (One != Other) {
        ULONGLONG mixed = (Place ^ One * 31 ^ Other * 131) * 0x9E3779B97F4A7C15ull;
        WINVM_COMPARED *slot = &Compared[mixed >> 58];
        slot->First = One;
        slot->Second = Other;
    }
}

#define PLACE ((ULONG_PTR)__builtin_return_address(0))
#define TRACE(Name, Type)             \
    VOID Name(Type One, Type Other) { \
        Keep(PLACE, One, Other);      \
    }

TRACE(__sanitizer_cov_trace_cmp1, UCHAR)
TRACE(__sanitizer_cov_trace_cmp2, USHORT)
TRACE(__sanitizer_cov_trace_cmp4, ULONG)
TRACE(__sanitizer_cov_trace_cmp8, ULONGLONG)
TRACE(__sanitizer_cov_trace_const_cmp1, UCHAR)
TRACE(__sanitizer_cov_trace_const_cmp2, USHORT)
TRACE(__sanitizer_cov_trace_const_cmp4, ULONG)
TRACE(__sanitizer_cov_trace_const_cmp8, ULONGLONG)

/* Cases: their number, the value's width in bits, then each constant. */
VOID __sanitizer_cov_trace_switch(ULONGLONG Value, ULONGLONG *Cases) {
    for (ULONGLONG index = 0; index < Cases[0] && index < PAIRS; index++) {
        Keep(PLACE, Value, Cases[2 + index]);
    }
}

/* 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, 128 and more have a bit each. */
static UCHAR Often(UCHAR Count) {
    static const UCHAR small[4] = {0, 1, 2, 4};

    if (Count < 4) {
        return small[Count];
    }
    return Count < 8 ? 8 : Count < 16 ? 16 : Count < 32 ? 32 : Count < 128 ? 64 : 128;
}

static VOID Merge(WINVM_NOVELTY *Novelty) {
    volatile UCHAR *counter = &First + 1;

    for (ULONG index = 0; counter < &End; counter++, index++) {
        if (*counter == 0) {
            continue;
        }
        UCHAR *seen = &Seen[index % SEEN_SIZE];
        UCHAR often = Often(*counter);
        *counter = 0;
        if (*seen == 0) {
            Novelty->Edges++;
            Total++;
        } else if ((*seen & often) == 0) {
            Novelty->Counts++;
        }
        *seen |= often;
    }
    Novelty->Total = Total;
}

/* Offset 0: what is new since the last time. Offset 1: everything is forgotten. */
static ULONG ReadNovelty(ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    WINVM_NOVELTY *novelty = Buffer;

    if (Length < sizeof(*novelty)) {
        return 0;
    }
    RtlZeroMemory(novelty, FIELD_OFFSET(WINVM_NOVELTY, Compared));
    if (Offset == 1) {
        RtlZeroMemory(Seen, sizeof(Seen));
        Total = 0;
    }
    Merge(novelty);
    for (ULONG index = 0; index < PAIRS; index++) {
        if (Compared[index].First != Compared[index].Second) {
            novelty->Compared[novelty->Pairs++] = Compared[index];
        }
        Compared[index].First = Compared[index].Second = 0;
    }
    return FIELD_OFFSET(WINVM_NOVELTY, Compared) + novelty->Pairs * sizeof(WINVM_COMPARED);
}

VOID WinvmGuidanceBegin(VOID) {
    WinvmChannelAdd(WINVM_PART_NOVELTY, ReadNovelty);
}
