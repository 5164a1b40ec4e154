#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// This process's place among those that train together, as torchrun and schedulers tell it by environment variables.
public struct WorkerEnvironment: Sendable, Equatable {
  /// `RANK`, from 0.
  public var rank: Int
  /// `WORLD_SIZE`: how many processes there are.
  public var size: Int
  /// `LOCAL_RANK`: from 0 among those of this machine; nil where nobody tells.
  public var localRank: Int?
  /// `MASTER_ADDR` and `MASTER_PORT`: where rank 0, or who started the processes, keeps the store that they meet at.
  public var address: String
  public var port: Int
  /// Whether who started the processes keeps the store (torchrun's agent); else rank 0 does.
  public var storeIsElsewhere = false
  /// `NORMA_STORE`: the descriptor of a ``ListeningSocket`` for rank 0 to keep the store at, which its first group takes over; nil has it open
  /// one at ``port``.
  public var listeningSocket: Int32?
  /// Tells this attempt from earlier ones that the same store has seen.
  public var attempt = "0"
  /// Whether torchrun has started the processes again after some have failed.
  public var isRestart = false
  /// `GLOO_SOCKET_IFNAME`: the network interface to be reached at; nil takes the one that leads to the store.
  public var interface: String?

  public static let socketVariable = "NORMA_STORE"

  /// The processes of one machine.
  public init(rank: Int, size: Int, address: String = "127.0.0.1", port: Int) {
    (self.rank, self.size, self.address, self.port) = (rank, size, address, port)
  }

  /// - Parameter value: the variable of a name.
  /// - Returns: nil where neither `RANK` nor `WORLD_SIZE` is set.
  /// - Throws: ``WorkerError`` that names the variables which are missing or no sensible numbers.
  public init?(_ value: (String) -> String?) throws {
    guard value("RANK") != nil || value("WORLD_SIZE") != nil else { return nil }
    func text(_ name: String) throws -> String {
      guard let text = value(name), !text.isEmpty else {
        throw WorkerError(
          "RANK and WORLD_SIZE tell a process of several, which needs RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, but "
            + "\(name) is not set; let torchrun or the scheduler set all four, or unset them to train with one process")
      }
      return text
    }
    func number(_ name: String, _ range: ClosedRange<Int>) throws -> Int {
      let text = try text(name)
      guard let number = Int(text), range.contains(number) else {
        throw WorkerError("\(name) should be a number from \(range.lowerBound) to \(range.upperBound), got '\(text)'")
      }
      return number
    }
    size = try number("WORLD_SIZE", 1...65535)
    rank = try number("RANK", 0...size - 1)
    localRank = try value("LOCAL_RANK") == nil ? nil : number("LOCAL_RANK", 0...size - 1)
    address = try text("MASTER_ADDR")
    port = try number("MASTER_PORT", 1...65535)
    // torchrun keeps its store over restarts.
    storeIsElsewhere = value("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = [value("TORCHELASTIC_RUN_ID"), value("TORCHELASTIC_RESTART_COUNT") ?? "0"].compactMap { $0 }
      .joined(separator: "/")
    isRestart = (value("TORCHELASTIC_RESTART_COUNT").flatMap { Int($0) } ?? 0) > 0
    listeningSocket = value(Self.socketVariable).flatMap { Int32($0) }
    interface = value("GLOO_SOCKET_IFNAME").flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Of this process.
  public static func current() throws -> WorkerEnvironment? {
    try WorkerEnvironment { name in getenv(name).map { String(cString: $0) } }
  }

  /// Whether this process keeps the store.
  var keepsStore: Bool { rank == 0 && !storeIsElsewhere }

  /// The rank that keeps the store; nil where none does.
  var storeRank: Int? { storeIsElsewhere ? nil : 0 }

  /// How messages name the store.
  var store: String { "the store at \(address):\(port)" }
}
