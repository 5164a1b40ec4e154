import NormaNN
import NormaTensor

/// Switchable normalization: learns how to mix instance, layer and batch statistics.
///
///     y = γ (x − Σ w_k μ_k) / √(Σ λ_k σ²_k + ε) + β,   w = softmax(mean_weight), λ = softmax(var_weight)
///
/// with k over (instance, layer, batch), in this order, or over any other partitions, of which one may reach over samples. Statistics over (spatial…),
/// (C, spatial…) and (N, spatial…). Parameters `weight` γ [C], `bias` β [C], `mean_weight` [3], `var_weight` [3]: 2C + 6;
/// state `running_mean`, `running_var` [C] for the batch branch, which evaluation uses. After
/// ``NormaNN/Module/reestimateStatistics(over:forward:)`` these are averages over batches, the paper's other way of
/// evaluating.
///
/// Luo et al. 2019, "Differentiable Learning-to-Normalize via Switchable Normalization", eq. 3–5.
public final class SwitchableNorm: NormalizationLayer, ProgressFollowing {
  /// What is mixed and how, what is kept for evaluation, and which parameters are learned.
  public struct Options: Sendable, Hashable {
    /// Added to the mixed variance; finite and above 0.
    public var epsilon = 1e-5
    /// The share of the new batch in the running statistics.
    public var momentum = 0.1
    /// Whether there are γ and β.
    public var affine = true
    /// What is mixed.
    public var branches: [Partition] = [.instance, .layer, .batch]
    /// Planes have the variance with M − 1 in the place of M, in every branch.
    public var unbiasedInstanceVariance = false
    /// Whether the running variance averages n / (n − 1) times the batch's.
    public var unbiasedRunningVariance = false
    /// Initial γ: 0 for the last norm of a residual block, which then starts as the identity.
    public var initialScale = 1.0
    /// Divides the logits before the softmax.
    public var temperature = 1.0
    /// SparsestMax in the place of softmax: ends with one branch selected. Shao et al. 2019.
    public var sparsity: SparsitySchedule?

    /// As the paper describes it.
    public static let paper = Options()
    /// As the authors' PyTorch code: unbiased variances of the planes. Its momentum of 0.9 is the share that is kept.
    public static let referencePyTorch: Options = {
      var options = Options()
      options.unbiasedInstanceVariance = true
      return options
    }()
    /// As the Keras code that the paper's readers use: ε 1e-3, momentum 0.99 of the old, unbiased running variance. That code
    /// takes the batch branch's training statistics over each sample alone and starts from a running mean of 1 and variance of
    /// 0; neither is followed here.
    public static let referenceKeras: Options = {
      var options = Options()
      options.epsilon = 1e-3
      options.momentum = 0.01
      options.unbiasedRunningVariance = true
      return options
    }()

    /// The paper's choices: ``paper``.
    public init() {}
  }

  /// The radius of SparsestMax over the training: from 0 linearly to the one that selects a branch, reached at `end`.
  public struct SparsitySchedule: Sendable, Hashable {
    /// Share of the training after which one branch is selected.
    public var end = 0.8
    /// Selects one branch after 0.8 of the training.
    public init() {}
  }

  /// As given to the initializer; fixed from then on.
  public let options: Options
  /// Logits of the means' mixing weights [K].
  public let meanWeight: Parameter
  /// Logits of the variances' mixing weights [K].
  public let varWeight: Parameter
  /// Of the branch over samples (batch or ghost): [C], initially 0; nil where no such branch is mixed.
  public let runningMean: Buffer?
  /// Of the branch over samples (batch or ghost): [C], initially 1; nil where no such branch is mixed.
  public let runningVar: Buffer?
  /// Radius of SparsestMax, a scalar; nil for softmax.
  public let radius: Buffer?

  /// - Throws: ``NormalizationError`` for no or twice the same branch, or groups that do not divide the channels.
  public init(channels: Int, _ options: Options) throws {
    try NormalizationError.check(channels: channels, epsilon: options.epsilon, momentum: options.momentum)
    let branches = options.branches
    guard branches.count > 0, Set(branches).count == branches.count else {
      throw NormalizationError("switchable normalization mixes one or more different branches, got \(branches)")
    }
    for case .group(let groups) in branches { try Partition.checkGroups(groups, channels: channels) }
    guard branches.filter(\.spansSamples).count < 2 else {
      throw NormalizationError(
        "switchable normalization keeps running statistics of one branch, so it mixes batch or ghost batches of one size, got "
          + branches.map(\.name).joined(separator: ", "))
    }
    guard options.temperature > 0, options.temperature.isFinite, (0...1).contains(options.sparsity?.end ?? 1) else {
      throw NormalizationError(
        "the temperature lies above 0 and the end of the sparsity schedule from 0 to 1, got \(options.temperature) and "
          + "\(options.sparsity?.end ?? 1)")
    }
    self.options = options
    meanWeight = try Parameter(Tensor.ones([branches.count]))
    varWeight = try Parameter(Tensor.ones([branches.count]))
    let tracks = branches.contains(where: \.spansSamples)
    runningMean = tracks ? Buffer(try Tensor.zeros([channels])) : nil
    runningVar = tracks ? Buffer(try Tensor.ones([channels])) : nil
    radius = options.sparsity == nil ? nil : Buffer(try Tensor.zeros([]))
    try super.init(
      channels: channels, epsilon: options.epsilon, scale: options.affine, center: options.affine,
      initialScale: options.initialScale)
  }

  /// - Parameter batch: false leaves the batch branch out, for batches of one sample, where it equals the instance branch.
  public convenience init(
    channels: Int, epsilon: Double = 1e-5, momentum: Double = 0.1, affine: Bool = true, batch: Bool = true
  ) throws {
    var options = Options()
    (options.epsilon, options.momentum, options.affine) = (epsilon, momentum, affine)
    if !batch { options.branches = [.instance, .layer] }
    try self.init(channels: channels, options)
  }

  /// The branches that mean and variance come from once the radius selects one each, as indices.
  private var selection: (mean: Int, variance: Int)? {
    get throws {
      // The buffer may have fewer digits.
      guard let radius, try radius.value.item() > selectingRadius(options.branches.count) - 1e-4 else { return nil }
      func chosen(_ logits: Parameter) throws -> Int {
        let values: [Double] = try logits.value.array()
        return values.firstIndex(of: values.max()!)!
      }
      return (try chosen(meanWeight), try chosen(varWeight))
    }
  }

  override var branches: [Branch] {
    get throws {
      let used = try selection.map { $0.mean == $0.variance ? [$0.mean] : [$0.mean, $0.variance] }
      return (used ?? Array(options.branches.indices)).map { .pooled(options.branches[$0]) }
    }
  }

  override var mixture: Mixture {
    get throws {
      if let selection = try selection {
        return selection.mean == selection.variance ? .one : .fixed(mean: [1, 0], variance: [0, 1])
      }
      let rule: MixingRule =
        try radius.map { .sparsest(radius: try $0.value.item()) } ?? .softmax(temperature: options.temperature)
      return .learned(mean: meanWeight.value, variance: varWeight.value, rule)
    }
  }

  override var runningStatistics: RunningStatistics? {
    guard let runningMean, let runningVar, let partition = options.branches.first(where: \.spansSamples) else {
      return nil
    }
    return RunningStatistics(
      partition: partition, mean: runningMean, variance: runningVar, momentum: options.momentum,
      unbiased: options.unbiasedRunningVariance)
  }

  override func varianceFactor(positions: Int) -> Double {
    options.unbiasedInstanceVariance && positions > 1 ? Double(positions) / Double(positions - 1) : 1
  }

  /// Sets the radius of SparsestMax for a share of the training that is done.
  public func followProgress(_ progress: Double) throws {
    guard let radius, let schedule = options.sparsity else { return }
    let part = schedule.end == 0 ? 1 : min(1, progress / schedule.end)
    let full = selectingRadius(options.branches.count)
    let next = part * full
    try withoutGradients { try radius.value.fill(next) }
  }

  /// The learned shares of the branches in the mean and in the variance, in the order of the options; each sums to 1.
  public func shares() throws -> (mean: [Double], variance: [Double]) {
    func oneHot(_ index: Int) -> [Double] { options.branches.indices.map { $0 == index ? 1 : 0 } }
    if let selection = try selection { return (oneHot(selection.mean), oneHot(selection.variance)) }
    guard case .learned(let mean, let variance, let rule) = try mixture else {
      preconditionFailure("nothing is selected")
    }
    return (rule.shares(try mean.array()).values, rule.shares(try variance.array()).values)
  }

  /// ``shares()`` by the branches' names, such as `instance` and `group(8)`.
  public func namedShares() throws -> [(branch: String, mean: Double, variance: Double)] {
    let found = try shares()
    return options.branches.indices.map { (options.branches[$0].name, found.mean[$0], found.variance[$0]) }
  }
}

extension NormalizationKind {
  static let switchable = NormalizationKind(
    name: "switchable", title: "Switchable normalization",
    summary: "Learns how to mix instance, layer and batch statistics.",
    options: [
      .init(
        form: "BRANCH+…",
        help: "what is mixed: instance, layer, batch, synchronized, ghost(N), group(G) (default: instance+layer+batch)"),
      .init(form: "synchronized", help: "the batch branch is taken over all workers"),
      .init(form: "sparse", help: "ends with one branch selected (SparsestMax)"),
      .init(form: "temperature=T", help: "divides the logits (default: 1)"),
      .momentum,
      .epsilon,
      .init(form: "pytorch", help: "as the authors' PyTorch code: unbiased variances of planes"),
      .init(form: "keras", help: "as the Keras code: epsilon 1e-3, momentum 0.01, unbiased running variance"),
    ],
    formula: "y = γ (x − Σ w_k μ_k) / √(Σ λ_k σ²_k + ε) + β,  w = softmax(mean_weight), λ = softmax(var_weight)",
    statistics: [.init(.instance), .init(.layer), .init(.batch)], parameters: "2C + 6", parameterCount: { 2 * $0 + 6 },
    useWhen:
      "it is not known which norm fits, or the batch size differs between runs; costs what batch normalization costs",
    weakness: "in evaluation its batch branch depends on running statistics, like batch normalization",
    source: "Luo et al. 2019"
  ) { words in
    var options = SwitchableNorm.Options.paper
    let (pytorch, keras) = (words.flag("pytorch"), words.flag("keras"))
    if pytorch, keras { throw words.error("pytorch and keras exclude each other") }
    if pytorch { options = .referencePyTorch }
    if keras { options = .referenceKeras }
    if words.flag("sparse") { options.sparsity = .init() }
    if let temperature: Double = try words.value("temperature", "a number above 0", where: { $0 > 0 }) {
      guard options.sparsity == nil else {
        throw words.error("temperature is for softmax; sparse has a radius instead")
      }
      options.temperature = temperature
    }
    let momentum = try words.momentum()
    if let momentum { options.momentum = momentum }
    if let epsilon = try words.epsilon() { options.epsilon = epsilon }
    let isSynchronized = words.flag("synchronized")
    if isSynchronized { options.branches = [.instance, .layer, .synchronized] }
    if let word = words.word() {
      if isSynchronized {
        throw words.error("a list of branches says itself which is synchronized, as instance+layer+synchronized")
      }
      options.branches = try word.split(separator: "+", omittingEmptySubsequences: false).map { name in
        guard let partition = Partition(name: String(name)) else {
          throw words.error(
            "unknown branch '\(name)'; the known ones are instance, layer, batch, synchronized, ghost(N) and group(G)")
        }
        return partition
      }
      guard Set(options.branches).count == options.branches.count else { throw words.error("a branch is there twice") }
    }
    if momentum != nil, !options.branches.contains(where: \.spansSamples) {
      throw words.error("momentum is for running statistics, which only batch and ghost branches have")
    }
    let chosen = options
    return { try SwitchableNorm(channels: $0, chosen) }
  }
}
