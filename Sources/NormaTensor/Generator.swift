import CTorch

/// A seeded source of random numbers for tensors. Not to be used from two threads at once.
public final class Generator: @unchecked Sendable {
  let handle: CTGenerator
  public let device: Device

  /// - Throws: ``TensorError`` when the device cannot be used.
  public init(seed: UInt64, device: Device = .cpu) throws {
    try Runtime.check()
    guard let handle = ct_generator(device.packed, seed) else { throw TensorError.last("Generator") }
    self.handle = handle
    self.device = device
  }

  deinit { ct_generator_release(handle) }

  /// The whole state as bytes, to be stored and set again.
  public func state() throws -> Tensor {
    guard let state = ct_generator_state(handle) else { throw TensorError.last("Generator.state") }
    return Tensor(owning: state)
  }

  /// Draws other numbers from now on, which follow from the present state and a rank; rank 0 draws the same.
  package func become(rank: Int) throws {
    guard rank > 0 else { return }
    // FNV-1a over the state and the rank.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in try state().array(of: UInt8.self) + withUnsafeBytes(of: UInt64(rank).littleEndian, Array.init) {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    try setState(Generator(seed: hash, device: device).state())
  }

  public func setState(_ state: Tensor) throws {
    let result = withExtendedLifetime(state) { ct_generator_set_state(handle, state.handle) }
    guard result >= 0 else { throw TensorError.last("Generator.setState") }
  }
}
