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

  public func setState(_ state: Tensor) throws {
    let result = withExtendedLifetime(state) { ct_generator_set_state(handle, state.handle) }
    guard result >= 0 else { throw TensorError.last("Generator.setState") }
  }
}
