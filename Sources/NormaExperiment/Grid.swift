import NormaData
import NormaNormalization
import NormaRecords
import NormaTraining

/// What is varied between trainings that are otherwise alike.
public struct Grid: Sendable {
  /// The methods that are compared.
  public var norms: [Normalization]
  /// Kinds of the network that every norm is compared in, by name; an empty name is the plain one, which is not told.
  public var variants: [String]
  /// What every norm is trained by; nil stands for that of the workload's options, which is not told.
  public var optimizers: [OptimizerChoice?]
  /// Samples per training step.
  public var batchSizes: [Int]
  /// For `TrainingOptions.learningRate`.
  public var learningRates: [Double]
  /// Each repeats all other combinations.
  public var seeds: [UInt64]

  /// All combinations of the given values; an empty list leaves no cell.
  public init(
    norms: [Normalization], variants: [String] = [""], optimizers: [OptimizerChoice?] = [nil], batchSizes: [Int],
    learningRates: [Double], seeds: [UInt64]
  ) {
    self.norms = norms
    self.variants = variants
    self.optimizers = optimizers
    self.batchSizes = batchSizes
    self.learningRates = learningRates
    self.seeds = seeds
  }

  /// One training: a combination of the grid's values.
  public struct Cell: Sendable {
    /// Makes the norms; the record has only the name, from which a custom norm cannot be made.
    public let normalization: Normalization
    /// The network's; empty for the plain one.
    public let variant: String
    /// nil for that of the workload's options.
    public let optimizer: OptimizerChoice?
    /// The norm's name with those of variant and optimizer, batch size, learning rate and seed.
    public let record: CellRecord
  }

  private struct Contender {
    let norm: Normalization
    let variant: String
    let optimizer: OptimizerChoice?

    var name: String {
      CellRecord.contender(norm.name, variants: [variant, optimizer?.name ?? ""])
    }
  }

  private var all: [Contender] {
    norms.flatMap { norm in
      variants.flatMap { variant in
        optimizers.map { Contender(norm: norm, variant: variant, optimizer: $0) }
      }
    }
  }

  /// What is compared, by name.
  public var contenders: [String] { all.map(\.name) }

  /// All combinations, seed by seed: what there is of an interrupted grid compares all norms on equal terms.
  public var cells: [Cell] {
    seeds.flatMap { seed in
      batchSizes.flatMap { batchSize in
        learningRates.flatMap { rate in
          all.map {
            Cell(
              normalization: $0.norm, variant: $0.variant, optimizer: $0.optimizer,
              record: CellRecord(norm: $0.name, batchSize: batchSize, learningRate: rate, seed: seed))
          }
        }
      }
    }
  }
}

/// How samples are drawn, of which a cell decides two things.
protocol CellSampling {
  var batchSize: Int { get set }
  var seed: UInt64 { get set }
}

extension CellSampling {
  func of(_ cell: CellRecord) -> Self {
    var sampling = self
    (sampling.batchSize, sampling.seed) = (cell.batchSize, cell.seed)
    return sampling
  }
}

extension SampleOptions: CellSampling {}
extension ImageSampling: CellSampling {}
