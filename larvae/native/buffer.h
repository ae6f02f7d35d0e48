// Memory that begins with a cache line: a vector or a tile's row that lies in two lines takes twice as long.

#pragma once

#include <cstddef>
#include <new>
#include <vector>

constexpr std::size_t LINE = 64;

template <class T>
struct InLines {  // std::vector's allocator
    using value_type = T;
    InLines() = default;
    template <class U>
    InLines(const InLines<U>&) {}
    T* allocate(std::size_t count) { return (T*)::operator new(count * sizeof(T), std::align_val_t{LINE}); }
    void deallocate(T* memory, std::size_t) { ::operator delete(memory, std::align_val_t{LINE}); }
    friend bool operator==(const InLines&, const InLines&) { return true; }
    friend bool operator!=(const InLines&, const InLines&) { return false; }
};

template <class T>
using Buffer = std::vector<T, InLines<T>>;
