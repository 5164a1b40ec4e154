import ArgumentParser
import NormaNormalization
import NormaRecords

struct CompareCommand: WorkerCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Train a network under several normalizations with equal weights, data and order, and compare.",
    discussion: """
      Without files it uses built-in synthetic data: a stack that resembles electron microscopy for unet, shapes for alexnet, optical \
      flow for mean-spot, digits for mnist-dense and mnist-lstm, pictures for style.
      The output folder holds report.html, charts, results.json, history-NORM.csv, weights-NORM.safetensors and what the network makes \
      of the scored samples: predictions-NORM.tif and overlays/NORM-slice-N.png of unet, overlays/NORM-image-N.png of style, \
      predictions-NORM.csv of the others. Ctrl-C ends the run after the current step, with the table of what there is; --resume goes \
      on with it as if it had not been interrupted.
      """)

  @Option(help: ModelName.help)
  var model = ModelName.unet

  @Option(
    help: NormHelp.list(
      default: ModelName.defaultsTold { $0.norms.map(\.name).joined(separator: ",") }),
    completion: NormHelp.names, transform: CompareCommand.parseNorms)
  var norms: [Normalization]?

  @OptionGroup(title: "Repeats") var grid: GridOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Network") var network: NetworkOptions
  @OptionGroup(title: "Training") var training: TrainingCommandOptions
  @OptionGroup(title: "Workers") var workers: WorkerOptions
  @OptionGroup(title: "Output") var output: OutputOptions
  @OptionGroup(title: "Configuration and going on") var resume: ResumeOptions
  @OptionGroup(title: "Sharing the work") var share: ShareOptions
  @OptionGroup(title: "Messages") var logOptions: LogOptions

  static func parseNorms(_ text: String) throws -> [Normalization] {
    let norms = try commaSeparated(text).map(Normalization.init(parsing:))
    guard Set(norms).count == norms.count else {
      throw ValidationError("'\(text)' names a normalization twice")
    }
    return norms
  }

  func validate() throws {
    if share.share {
      guard output.output != nil || resume.resume != nil else {
        throw ValidationError("--share needs the folder that all processes write into: give --output, or --resume.")
      }
      if output.overwrite {
        throw ValidationError(
          "--overwrite would remove what other processes of --share write: give one of them, or another --output.")
      }
    }
    if grid.batchSizes != nil, training.batchSize != nil {
      throw ValidationError("--batch-sizes lists all batch sizes: leave out --batch-size.")
    }
    if grid.learningRates != nil, training.learningRate != nil {
      throw ValidationError("--learning-rates lists all learning rates: leave out --learning-rate.")
    }
    if grid.optimizers != nil {
      if training.optimizer != nil || training.momentum != nil {
        throw ValidationError(
          "--optimizers lists all optimizers, with a momentum as in sgd:0.5: leave out --optimizer and --momentum.")
      }
      if grid.learningRates == nil, training.learningRate == nil {
        throw ValidationError(
          "--optimizers needs --learning-rates to choose from, as 0.001,0.01,0.1: a rate that suits one optimizer does not suit "
            + "another.")
      }
    }
    let cells = [
      network.attentions.count, grid.optimizers?.values.count ?? 1, grid.seeds, grid.batchSizes?.values.count ?? 1,
      grid.learningRates?.values.count ?? 1,
    ].reduce((norms ?? model.norms).count, *)
    guard cells <= 100_000 else { throw ValidationError("that would be \(cells) trainings; 100000 are the most.") }
  }

  func run() throws {
    logOptions.start()
    try workers.run {
      try Comparison(
        command: "compare", model: model, norms: norms ?? model.norms, seeds: grid.seeds,
        optimizers: grid.optimizers?.values, batchSizes: grid.batchSizes?.values,
        learningRates: grid.learningRates?.values, score: grid.score, data: data, network: network, training: training,
        output: output, resume: resume, sharing: share.sharing
      ).run()
    }
  }
}
