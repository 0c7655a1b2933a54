/* Routines of ucrtbase.dll that CPython imports and ReactOS exports only to end the caller: C99's mathematics.
 *
 * Correct to a few units in the last place. Errors give the IEEE result (NaN, infinity) and leave errno alone. */

#include "own.h"

double exp(double), log(double), pow(double, double), sqrt(double);
double copysign(double, double), erf(double), erfc(double), trunc(double); /* of mingw-w64's libmingwex */

#define LN2 0x1.62e42fefa39efp-1
#define NOT_A_NUMBER __builtin_nan("")
#define INFINITE __builtin_inf()
#define LARGE 0x1p28 /* 1 + LARGE * LARGE is LARGE * LARGE */

double OWN(copysign)(double size, double sign) {
    return copysign(size, sign);
}

double OWN(erf)(double value) {
    return erf(value);
}

double OWN(erfc)(double value) {
    return erfc(value);
}

double OWN(trunc)(double value) {
    return trunc(value);
}

/* The rounding of 1 + value is taken out again: log(sum) and sum - 1 are both those of the rounded sum. */
double OWN(log1p)(double value) {
    double sum = 1 + value;
    if (sum == 1) return value;
    return sum == INFINITE || !(sum > 0) ? log(sum) : log(sum) * (value / (sum - 1));
}

double OWN(expm1)(double value) {
    double power = exp(value);
    if (power == 1) return value;
    if (power == INFINITE || power - 1 == -1 || power != power) return power - 1;
    return (power - 1) * (value / log(power));
}

double OWN(asinh)(double value) {
    double size = copysign(value, 1), square = size * size, result;
    if (size > LARGE)
        result = log(size) + LN2;
    else
        result = OWN(log1p)(size + square / (1 + sqrt(1 + square)));
    return copysign(result, value);
}

double OWN(acosh)(double value) {
    double above = value - 1;
    if (value < 1) return NOT_A_NUMBER;
    if (value > LARGE) return log(value) + LN2;
    return OWN(log1p)(above + sqrt(2 * above + above * above));
}

double OWN(atanh)(double value) {
    double size = copysign(value, 1);
    if (size > 1) return NOT_A_NUMBER;
    return copysign(size == 1 ? INFINITE : OWN(log1p)(2 * size / (1 - size)) / 2, value);
}

/* One step of Newton's method corrects what the rounding of 1/3 spoils. */
double OWN(cbrt)(double value) {
    double size = copysign(value, 1), root = pow(size, 1.0 / 3);
    if (size == 0 || size == INFINITE || size != size) return value;
    return copysign(root - (root - size / (root * root)) / 3, value);
}

/* FLT_ROUNDS: to nearest, the mode that CPython leaves as it is. */
int OWN(__fpe_flt_rounds)(void) {
    return 1;
}

/* libmingwex tells it of each error before it returns NaN or infinity; there is no handler to be told. */
void __mingw_raise_matherr(int kind, const char *name, double first, double second, double result) {
    (void)kind, (void)name, (void)first, (void)second, (void)result;
}
