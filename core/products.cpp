#include "core/products.h"

namespace hashgrad {
namespace {

thread_local Products chosen = Products::full;

}  // namespace

Products products() { return chosen; }

ProductsScope::ProductsScope(Products wanted) : before_(chosen) { chosen = wanted; }
ProductsScope::~ProductsScope() { chosen = before_; }

}  // namespace hashgrad
