// Threads that work on one call together, kept from call to call.
//
// Between calls they look for work for a short while and then sleep; inside one they never sleep, since its parts
// take microseconds. One call has them at a time: a call from another thread finds them busy and computes alone,
// with the same numbers.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

enum { MOST_THREADS = 1024, SPINS = 1024 };
// Calls of one token follow each other within 100 microseconds, tokens within one or two milliseconds.
static const std::chrono::microseconds AWAKE(5000);

static inline void breathe() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Wait for something that another thread is about to do; from then on let others have the core.
template <class Done>
static inline void wait_until(const Done& done) {
    for (int spins = 0; !done(); spins++) {
        if (spins < SPINS) breathe();
        else std::this_thread::yield();
    }
}

// What the threads of one call share.
struct Meeting {
    std::atomic<int64_t> arrived{0}, met{0};
    std::atomic<int64_t> taken[2] = {{0}, {0}};  // pieces of the part that runs, and of the one behind it
};

// One thread's place among those of a call.
struct Crew {
    int64_t me, threads;
    Meeting& meeting;
    int64_t part = 0;

    // Wait until all are here.
    void meet() {
        part++;
        if (threads == 1) {
            meeting.taken[(part + 1) & 1].store(0, std::memory_order_relaxed);
            return;
        }
        const int64_t before = meeting.met.load(std::memory_order_acquire);
        if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
            meeting.arrived.store(0, std::memory_order_relaxed);
            meeting.taken[(part + 1) & 1].store(0, std::memory_order_relaxed);  // of the part that ended
            meeting.met.store(before + 1, std::memory_order_release);
            return;
        }
        wait_until([&] { return meeting.met.load(std::memory_order_acquire) != before; });
    }

    // The first item of a thread's share; a single item is the caller's, who is sure to be awake.
    int64_t begin(int64_t items, int64_t thread) const { return (items * thread + threads - 1) / threads; }

    // Equal shares of items for all; then wait for each other.
    template <class Work>
    void each(int64_t items, const Work& work) {
        const int64_t to = begin(items, me + 1);
        for (int64_t item = begin(items, me); item < to; item++) work(item);
        meet();
    }

    // Whoever is free takes the next piece; then wait for each other.
    template <class Work>
    void spread(int64_t pieces, const Work& work) {
        std::atomic<int64_t>& taken = meeting.taken[part & 1];
        for (int64_t piece; (piece = taken.fetch_add(1, std::memory_order_relaxed)) < pieces;) work(piece);
        meet();
    }
};

class Team {
    typedef void (*Call)(void*, Crew&);

    std::mutex taken_, door_;
    std::condition_variable called_;
    std::atomic<uint64_t> job_{0};  // its number x 65536 + how many threads it wants: read at one time
    std::atomic<int64_t> asleep_{0}, left_{0};
    Call call_ = nullptr;
    void* given_ = nullptr;
    Meeting* meeting_ = nullptr;
    int64_t workers_ = 0;
    const pid_t process_ = getpid();

    uint64_t next_job(uint64_t seen) {
        const auto end = std::chrono::steady_clock::now() + AWAKE;
        for (int spins = 0;; spins++) {
            const uint64_t job = job_.load(std::memory_order_acquire);
            if (job != seen) return job;
            if (spins < SPINS) breathe();
            else if (std::chrono::steady_clock::now() < end) std::this_thread::yield();
            else break;
        }
        std::unique_lock<std::mutex> inside(door_);
        asleep_.fetch_add(1);
        called_.wait(inside, [&] { return job_.load() != seen; });
        asleep_.fetch_sub(1);
        return job_.load();
    }

    void work(int64_t me, uint64_t seen) {
        for (;;) {
            seen = next_job(seen);
            const int64_t threads = int64_t(seen & 0xffff);
            if (me >= threads) continue;
            Crew crew{me, threads, *meeting_};
            call_(given_, crew);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    // As many workers as can be had; they live as long as the process.
    int64_t hire(int64_t wanted) {
        try {
            while (workers_ < wanted) {
                const int64_t me = workers_ + 1;
                const uint64_t seen = job_.load();
                std::thread([this, me, seen] { work(me, seen); }).detach();
                workers_ = me;
            }
        } catch (const std::system_error&) {  // the system gives no more threads
        } catch (const std::bad_alloc&) {
        }
        return workers_ < wanted ? workers_ : wanted;
    }

  public:
    void run(int64_t threads, Call call, void* given) {
        Meeting meeting;
        std::unique_lock<std::mutex> mine(taken_, std::try_to_lock);
        if (threads > MOST_THREADS) threads = MOST_THREADS;
        const int64_t others = mine.owns_lock() && threads > 1 ? hire(threads - 1) : 0;
        Crew crew{0, others + 1, meeting};
        if (others == 0) {
            call(given, crew);
            return;
        }
        call_ = call;
        given_ = given;
        meeting_ = &meeting;
        left_.store(others, std::memory_order_relaxed);
        job_.store(((job_.load() >> 16) + 1) << 16 | uint64_t(others + 1));
        if (asleep_.load() > 0) {
            std::lock_guard<std::mutex> inside(door_);
            called_.notify_all();
        }
        call(given, crew);
        wait_until([&] { return left_.load(std::memory_order_acquire) == 0; });
    }

    // The process's team; a forked child has none of its parent's threads and begins with an own one.
    static Team& here() {
        static std::atomic<Team*> team{nullptr};
        Team* found = team.load(std::memory_order_acquire);
        while (found == nullptr || found->process_ != getpid()) {
            Team* made = new Team;  // never destroyed: its threads may outlive what ends a process
            if (team.compare_exchange_strong(found, made, std::memory_order_acq_rel)) return *made;
            delete made;
        }
        return *found;
    }
};

// Call work(crew) on so many threads at once, and return when all are done.
template <class Work>
static void together(int64_t threads, const Work& work) {
    Team::here().run(threads, [](void* given, Crew& crew) { (*(const Work*)given)(crew); }, (void*)&work);
}
