import CTorch
import NormaTensor

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The processors (hardware threads) of this machine.
enum Processors {
  /// Those that this process may use, so that those of a core, and cores of a socket, follow one another; empty where the system does not tell.
  static var allowed: [Int] {
    var numbers = [Int32](repeating: 0, count: Int(ct_processors(nil, 0)))
    let count = Int(ct_processors(&numbers, Int32(numbers.count)))
    return ordered(numbers.prefix(count).map(Int.init)) { processor in
      ["physical_package_id", "core_id"].map {
        firstWord(of: "/sys/devices/system/cpu/cpu\(processor)/topology/\($0)").flatMap { Int($0) } ?? 0
      }
    }
  }

  /// - Parameter place: a processor's socket and core.
  static func ordered(_ processors: [Int], place: (Int) -> [Int]) -> [Int] {
    processors.map { (key: place($0) + [$0], number: $0) }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
      .map(\.number)
  }

  /// The part that one of several processes takes, as many as others to one; nil where there are too few.
  static func share(of processors: [Int], _ index: Int, of count: Int) -> ArraySlice<Int>? {
    guard processors.count >= count else { return nil }
    return processors[processors.count * index / count..<processors.count * (index + 1) / count]
  }
}

extension ProcessGroup {
  /// Shares out the machine's processors among its ranks: so many threads for an operator, and the threads of a process stay on processors of its
  /// own, where all may use the same ones. A rank that waits for a message then has a processor to read it on, rather than that of one which still computes.
  ///
  /// The environment variables `OMP_NUM_THREADS`, `OMP_PROC_BIND` and `GOMP_CPU_AFFINITY` come first.
  /// - Returns: the processors that are this process's own, nil where it shares them.
  @discardableResult public func shareProcessors() throws -> [Int]? {
    let ranks = ranksOnThisMachine
    let allowed = Processors.allowed
    let all = try gather(allowed.map(Int64.init))
    guard ranks.count > 1, let index = ranks.firstIndex(of: rank) else { return nil }
    // This one and those that it shares processors with: a scheduler may have given each its own already.
    let others = ranks.filter { all[$0].isEmpty || !Set(all[$0]).isDisjoint(with: all[rank]) }
    func isFree(_ variable: String) -> Bool { getenv(variable) == nil }
    if isFree("OMP_NUM_THREADS") { Runtime.threads = max(1, Runtime.threads / others.count) }
    guard ranks.allSatisfy({ all[$0] == all[rank] }), isFree("OMP_PROC_BIND"), isFree("GOMP_CPU_AFFINITY"),
      let own = Processors.share(of: allowed, index, of: ranks.count),
      ct_keep_to_processors(own.map(Int32.init), Int32(own.count)) == 0
    else { return nil }
    return Array(own)
  }
}
