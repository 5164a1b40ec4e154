import NormaNN
import NormaTensor

/// Filter response normalization with its thresholded linear unit, which takes the place of a ReLU.
///
///     y = max(γ x / √(ν² + ε) + β, τ),   ν² = mean(x²) of every (sample, channel) plane
///
/// Mean squares over (spatial…). Parameters `weight` γ, `bias` β, `tau` τ [C], the latter two initially 0. Training and
/// evaluation are alike. Independent of the batch; meant for planes of more than one value.
///
/// Singh & Krishnan 2020, "Filter Response Normalization Layer", eq. 1–4.
public final class FilterResponseNorm: NormalizationLayer {
  /// The threshold of every channel; nil for a layer that is followed by another activation.
  public let tau: Parameter?

  /// - Parameters:
  ///   - epsilon: added to the mean square.
  ///   - thresholded: false leaves out τ, for a layer that another activation follows.
  /// - Throws: ``NormalizationError`` for no channels or an epsilon that is not a finite number above 0.
  public init(channels: Int, epsilon: Double = 1e-6, thresholded: Bool = true) throws {
    tau = thresholded ? try Parameter(Tensor.zeros([channels])) : nil
    try super.init(channels: channels, epsilon: epsilon, scale: true, center: true)
  }

  override var branches: [Branch] { get throws { [.uncentred(.instance)] } }

  /// True with the threshold ``tau``, which takes the place of a ReLU.
  override public var replacesActivation: Bool { tau != nil }

  override func finish(_ output: Tensor) throws -> Tensor {
    guard let tau = tau?.value else { return output }
    return try Tensor.maximum(output, tau.perChannel(of: output))
  }
}

extension NormalizationKind {
  static let filterResponse = NormalizationKind(
    name: "frn", title: "Filter response normalization",
    summary: "Divides every plane by the root of its mean square; a learned threshold takes the place of ReLU.",
    options: [
      .init(form: "plain", help: "without the threshold; the network's own activation follows"),
      .init(form: "epsilon=E", help: "added to the mean square (default: 1e-6)"),
    ],
    formula: "y = max(γ x / √(mean(x²) + ε) + β, τ)", statistics: [.init(.instance, "mean square")], parameters: "3C",
    parameterCount: { 3 * $0 },
    useWhen: "batches are small and nothing should depend on them",
    weakness: "sensitive to the learning rate's warm-up; weak on planes of few values",
    source: "Singh & Krishnan 2020"
  ) { words in
    let thresholded = !words.flag("plain")
    let epsilon = try words.epsilon() ?? 1e-6
    return { try FilterResponseNorm(channels: $0, epsilon: epsilon, thresholded: thresholded) }
  }
}
