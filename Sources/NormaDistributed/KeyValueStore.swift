import CTorch
import Dispatch
import NormaTensor
import Synchronization

/// Texts by key that processes share over TCP: libtorch's `TCPStore`.
///
/// libtorch waits without an end for the answer of a server that was stopped or whose network is cut. So every call runs on a thread of its own,
/// and is given up in time.
final class KeyValueStore: @unchecked Sendable {
  let handle: CTStore
  private let address: String
  private let port: Int
  private let prefix: String
  private let queue: DispatchQueue
  /// Calls that were given up and have not come back.
  private let unanswered = Atomic<Int>(0)

  /// Seconds in which a server answers that is still there.
  private static let patience = 5.0

  /// Why a call was given up.
  struct Silence: Error {}

  /// - Parameters:
  ///   - isServer: whether this process keeps the texts.
  ///   - listeningSocket: descriptor of one that the server takes over; nil has it open its own.
  ///   - prefix: of all keys.
  ///   - seconds: bounds how long this waits for the server.
  /// - Throws: `TensorError`; ``Silence`` where somebody listens who does not answer.
  init(
    address: String, port: Int, isServer: Bool, listeningSocket: Int32? = nil, prefix: String, seconds: Double
  ) throws {
    let queue = DispatchQueue(label: "norma.store")
    let handle = try Self.result(on: queue, within: seconds + 1) {
      guard let handle = ct_store(address, Int32(port), isServer, listeningSocket ?? -1, seconds) else {
        throw TensorError.last("TCPStore")
      }
      return Handle(handle)
    }
    (self.address, self.port, self.prefix) = (address, port, prefix)
    (self.handle, self.queue) = (handle.value, queue)
  }

  /// The same texts by a connection of its own, for calls that wait longer than others can.
  func another(seconds: Double) throws -> KeyValueStore {
    try KeyValueStore(address: address, port: port, isServer: false, prefix: prefix, seconds: seconds)
  }

  deinit { ct_store_release(handle) }

  private struct Handle: @unchecked Sendable {
    let value: CTStore
    init(_ value: CTStore) { self.value = value }
  }

  /// Whether a call that was given up has not come back; none is made until then.
  var isSilent: Bool { unanswered.load(ordering: .relaxed) > 0 }

  /// What the body returns, which waits for the server.
  /// - Parameter seconds: besides those in which a server answers.
  /// - Throws: ``Silence`` when it does not answer; what the body throws.
  func answer<Value: Sendable>(within seconds: Double = 0, _ body: @escaping @Sendable () throws -> Value) throws
    -> Value
  {
    if isSilent { throw Silence() }
    do {
      return try Self.result(on: queue, within: seconds + Self.patience, body) { [self] in
        unanswered.subtract(1, ordering: .relaxed)
      }
    } catch let error as Silence {
      unanswered.add(1, ordering: .relaxed)
      throw error
    }
  }

  /// - Parameter late: called when the body ends after it was given up.
  private static func result<Value: Sendable>(
    on queue: DispatchQueue, within seconds: Double, _ body: @escaping @Sendable () throws -> Value,
    late: @escaping @Sendable () -> Void = {}
  ) throws -> Value {
    let box = Box<Value>()
    let isDone = DispatchSemaphore(value: 0)
    queue.async {
      let result = Result { try body() }
      let isLate = box.state.withLock {
        $0.result = result
        return $0.isGivenUp
      }
      if isLate { late() }
      isDone.signal()
    }
    _ = isDone.wait(timeout: .now() + seconds)
    let found = box.state.withLock {
      $0.isGivenUp = $0.result == nil
      return $0.result
    }
    guard let found else { throw Silence() }
    return try found.get()
  }

  private final class Box<Value: Sendable>: Sendable {
    let state = Mutex<(result: Result<Value, any Error>?, isGivenUp: Bool)>((nil, false))
  }

  /// The name of a part of the store's keys, for libtorch.
  func name(_ part: String) -> String { prefix + part }

  func set(_ key: String, _ text: String) throws {
    try answer { [self] in
      let bytes = Array(text.utf8)
      guard ct_store_set(handle, prefix + key, bytes, Int64(bytes.count)) >= 0 else {
        throw TensorError.last("TCPStore")
      }
    }
  }

  /// Waits until there is one.
  func text(_ key: String, seconds: Double) throws -> String {
    try answer(within: seconds) { [self] in
      var bytes: UnsafePointer<UInt8>?
      let count = ct_store_get(handle, prefix + key, seconds, &bytes)
      guard count >= 0 else { throw TensorError.last("TCPStore") }
      return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }
  }

  /// The text if there is one.
  func found(_ key: String) throws -> String? { try has(key) ? text(key, seconds: 1) : nil }

  /// Sets a text that nobody has set before.
  /// - Returns: nil, or what somebody has set.
  func claim(_ key: String, _ text: String) throws -> String? {
    let isWon = try answer { [self] in
      let bytes = Array(text.utf8)
      let won = ct_store_claim(handle, prefix + key, bytes, Int64(bytes.count))
      guard won >= 0 else { throw TensorError.last("TCPStore") }
      return won == 1
    }
    return isWon ? nil : try self.text(key, seconds: 1)
  }

  func has(_ key: String) throws -> Bool {
    try answer { [self] in
      let found = ct_store_has(handle, prefix + key)
      guard found >= 0 else { throw TensorError.last("TCPStore") }
      return found == 1
    }
  }
}
