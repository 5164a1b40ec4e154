import NormaDistributed
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import NormaTraining

/// A network in training as the benchmarks measure it, with an account of its own of the tensors that live.
final class Trainee {
  let model: UNet
  private let optimizer: any Optimizer
  private let parameters: [Tensor]
  private let images: Tensor
  private let targets: Tensor
  private let group: ProcessGroup?
  private let reducer: GradientReducer?
  /// Bytes of the live tensors of this network and its data, of all that live.
  private var ownBytes: Int
  private(set) var peakBytes = 0

  private let recomputes: Bool

  /// - Parameter group: the processes that train the network together, as the trainer has them do.
  init(
    _ norm: Normalization, width: Int, images: Tensor, targets: Tensor, bytesOfData: Int = 0, recomputes: Bool = false,
    group: ProcessGroup? = nil
  ) throws {
    self.recomputes = recomputes
    self.group = group
    let before = TensorMemory.liveBytes
    model = try BenchNetwork.make(norm, width: width)
    optimizer = try OptimizerKind.adam.make(parameters: model.parameters, learningRate: 1e-3)
    parameters = model.parameters.map(\.value)
    reducer = try group.map { [parameters] in try GradientReducer(parameters, group: $0) }
    self.images = images
    self.targets = targets
    ownBytes = TensorMemory.liveBytes - before + bytesOfData
  }

  /// Of gradients that processes sum.
  var buckets: Int { reducer?.bucketCount ?? 0 }

  func step() throws {
    let before = TensorMemory.liveBytes
    TensorMemory.resetPeak()
    try ProcessGroup.$current.withValue(group) { try train() }
    // The other networks' tensors live meanwhile, but are not this one's.
    peakBytes = max(peakBytes, TensorMemory.peakBytes - before + ownBytes)
    ownBytes += TensorMemory.liveBytes - before
  }

  private func train() throws {
    for parameter in parameters { try parameter.setGradient(nil) }
    let logits = try Recomputation.$isEnabled.withValue(recomputes) { try model(images) }
    var loss = try logits.to(dtype: logits.dtype.accumulation).binaryCrossEntropy(target: targets)
    if let group { loss = try loss * (1 / Double(group.size)) }
    try reducer?.expect()
    try loss.backward()
    try reducer?.finish()
    try optimizer.step()
  }
}
