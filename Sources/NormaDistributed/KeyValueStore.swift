import CTorch
import NormaTensor

/// Texts by key that processes share over TCP: libtorch's `TCPStore`. All calls wait for the server.
final class KeyValueStore: @unchecked Sendable {
  let handle: CTStore
  private let prefix: String

  /// - Parameters:
  ///   - isServer: whether this process keeps the texts.
  ///   - prefix: of all keys.
  ///   - seconds: bounds how long a call waits for the server.
  init(address: String, port: Int, isServer: Bool, prefix: String, seconds: Double) throws {
    guard let handle = ct_store(address, Int32(port), isServer, seconds) else { throw TensorError.last("TCPStore") }
    self.handle = handle
    self.prefix = prefix
  }

  deinit { ct_store_release(handle) }

  /// The name of a part of the store's keys, for libtorch.
  func name(_ part: String) -> String { prefix + part }

  func set(_ key: String, _ text: String) throws {
    let bytes = Array(text.utf8)
    guard ct_store_set(handle, prefix + key, bytes, Int64(bytes.count)) >= 0 else { throw TensorError.last("TCPStore") }
  }

  /// Waits until there is one.
  func text(_ key: String, seconds: Double) throws -> String {
    var bytes: UnsafePointer<UInt8>?
    let count = ct_store_get(handle, prefix + key, seconds, &bytes)
    guard count >= 0 else { throw TensorError.last("TCPStore") }
    return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
  }

  /// Sets a text that nobody has set before.
  /// - Returns: nil, or what somebody has set.
  func claim(_ key: String, _ text: String) throws -> String? {
    let bytes = Array(text.utf8)
    let won = ct_store_claim(handle, prefix + key, bytes, Int64(bytes.count))
    guard won >= 0 else { throw TensorError.last("TCPStore") }
    return won == 1 ? nil : try self.text(key, seconds: 1)
  }

  func has(_ key: String) throws -> Bool {
    let found = ct_store_has(handle, prefix + key)
    guard found >= 0 else { throw TensorError.last("TCPStore") }
    return found == 1
  }
}
