import ArgumentParser
import NormaNormalization

struct TrainCommand: WorkerCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Train a network under one normalization.",
    discussion: """
      The output folder holds what that of norma compare does, and weights-last-NORM.safetensors beside the weights of the best \
      epoch. Ctrl-C ends the run after the current step; --resume goes on with it as if it had not been interrupted.
      """)

  @Option(help: ModelName.help)
  var model = ModelName.unet

  @Option(
    help: NormHelp.one(default: ModelName.defaultsTold { $0.norms[0].name }),
    completion: NormHelp.names, transform: { try Normalization(parsing: $0) })
  var norm: Normalization?

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Network") var network: NetworkOptions
  @OptionGroup(title: "Training") var training: TrainingCommandOptions
  @OptionGroup(title: "Workers") var workers: WorkerOptions
  @OptionGroup(title: "Output") var output: OutputOptions
  @OptionGroup(title: "Configuration and going on") var resume: ResumeOptions
  @OptionGroup(title: "Messages") var logOptions: LogOptions

  func validate() throws { try network.checkOneAttention() }

  func run() throws {
    logOptions.start()
    try workers.run {
      try Comparison(
        command: "train", model: model, norms: [norm ?? model.norms[0]], data: data, network: network,
        training: training,
        output: output, resume: resume
      ).run()
    }
  }
}
